"""What the junction is doing, and why it flashes."""

from enum import IntEnum


class Mode(IntEnum):
    """What the junction is doing."""

    START_UP_FLASH = 1
    START_UP_YELLOW = 2
    START_UP_RED = 3
    RUN = 4
    CLEARING = 5
    FLASH = 6
    DARK = 7


class FlashStatus(IntEnum):
    """unitFlashStatus."""

    OTHER = 1
    NOT_FLASH = 2
    AUTOMATIC = 3
    LOCAL_MANUAL = 4
    FAULT_MONITOR = 5
    MMU = 6
    STARTUP = 7
    PREEMPT = 8
