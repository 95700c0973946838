"""What was seen, when, and how far to believe it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from agent.model.identity import EquipmentId

Scalar = bool | int | float | str | None


class Quality(IntEnum):
    """How far a value may be believed. A silent unit's last value is stale, never good."""

    GOOD = 0
    UNCERTAIN = 1
    STALE = 2
    BAD = 3


class ClockQuality(IntEnum):
    """Where the time stamp comes from."""

    UNKNOWN = 0
    RTC_ONLY = 1
    NETWORK = 2
    ATTESTED = 3


FIRST_DATE_MS = 1_767_225_600_000
"""2026-01-01, before which this program was not. A smaller Unix time is the monotonic clock's: nobody knew better."""


@dataclass(frozen=True, slots=True)
class PointValue:
    """One value of one point.

    Args:
        point: ``equipment/name``.
        source_ms: Unix time of the reading in ms, by the gateway's clock; its quality travels with the batch.
    """

    point: str
    value: Scalar
    quality: Quality
    source_ms: int


@dataclass(frozen=True, slots=True)
class Calls:
    """Who asks for a green, by the controller's phases: phase n at bit n-1 of a mask, None where it does not tell.

    Args:
        at_ms: monotonic time the reply arrived. delay_ms: from sending the question to ``at_ms``.
    """

    at_ms: int
    vehicles: int | None
    pedestrians: int | None
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class JunctionObserved:
    """One consistent reading of a signal controller: everything came in one PDU.

    Group masks have group n at bit n-1.

    Args:
        at_ms: monotonic time the reply arrived.
        control_status: NTCIP 1202 unitControlStatus (2 systemControl, 4 backupMode ...).
        flash_status: unitFlashStatus (2 notFlash, 6 mmu ...).
        pattern: coordPatternStatus (1..253, 254 free, 255 flash).
        backup_time_s: unitBackupTime, last read; None while unknown.
        delay_ms: from sending the question to ``at_ms``: the signals showed this at some moment in between. The observer
            needs it so that a slow reply never looks like a short yellow.
        calls: as last asked for, seldom and in a question of their own; None if the controller does not tell.
        configuration_id: globalSetIDParameter, last read; None if it cannot be read.
        foreign_request: a systemPatternControl that stands there and is none of ours; None if it is, or is not told.
    """

    equipment: EquipmentId
    at_ms: int
    greens: int
    yellows: int
    reds: int
    control_status: int
    flash_status: int
    pattern: int
    backup_time_s: int | None
    delay_ms: int = 0
    calls: Calls | None = None
    configuration_id: int | None = None
    foreign_request: int | None = None


@dataclass(frozen=True, slots=True)
class BollardObserved:
    """One reading of a bollard PLC.

    Args:
        loops_free_since_ms: monotonic time since when both loops are seen free; None while occupied or unknown.
        heartbeat_at_ms: monotonic time when the PLC's heartbeat last changed; None until it has changed once.
        took_ms: from ``at_ms`` to the end of the reading: what it says was true at some moment in between.
        beacon_on, efo_active: None where the profile has no such point.
    """

    equipment: EquipmentId
    at_ms: int
    state: int
    at_top: bool
    at_bottom: bool
    moving_up: bool
    moving_down: bool
    loop_a: bool
    loop_b: bool
    loop_fault: bool
    pressure_trip: bool
    local_key: bool
    mains_ok: bool
    door_open: bool
    fault_latched: bool
    red_on: bool
    green_on: bool
    reversals: int
    position_percent: int
    loops_free_since_ms: int | None
    heartbeat_at_ms: int | None
    took_ms: int = 0
    beacon_on: bool | None = None
    efo_active: bool | None = None


@dataclass(frozen=True, slots=True)
class SegmentObserved:
    """One reading of a lighting segment.

    Args:
        dark: the photocell's word; None if it has none or cannot be believed, which counts as night.
        local_override: the manual switch on the contactor is on.
        lux: what the photocell measures; None where the module does not tell.
    """

    equipment: EquipmentId
    at_ms: int
    commanded_on: bool
    contactor_on: bool
    level_percent: int
    dark: bool | None
    local_override: bool
    breaker_tripped: bool
    lux: int | None = None


@dataclass(frozen=True, slots=True)
class DisplayObserved:
    """One reading of a text display (NTCIP 1203).

    Args:
        is_local: dmsControlMode is local: somebody holds it.
        crcs: template number -> CRC of the message the display itself holds under it.
        loss_minutes: dmsTimeCommLoss; 0 switches it off, None if not read.
        loss_message: a message for the loss of communication is set.
    """

    equipment: EquipmentId
    at_ms: int
    is_local: bool
    crcs: Mapping[int, int]
    loss_minutes: int | None
    loss_message: bool


Observed = JunctionObserved | BollardObserved | SegmentObserved | DisplayObserved


@dataclass(frozen=True, slots=True)
class Presence:
    """Somebody stands at the open cabinet: inputs read by the guard itself.

    Args:
        at_ms: monotonic time of the reading.
    """

    at_ms: int
    door_open: bool
    local_key: bool
