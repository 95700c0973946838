"""What phases and lamps show, as bit masks: bit 0 is element 1."""

from dataclasses import dataclass
from functools import lru_cache

VEHICLE_CHANNELS = 0x00FF  # channels 1..8
PEDESTRIAN_CHANNELS = 0x0F00  # channels 9..12
ALL_CHANNELS = VEHICLE_CHANNELS | PEDESTRIAN_CHANNELS
PEDESTRIAN_PHASES = (2, 4, 6, 8)  # on channels 9, 10, 11, 12 in this order


def bit(number: int) -> int:
    """Return the mask of element ``number``, counted from 1."""
    return 1 << (number - 1)


def numbers(mask: int) -> tuple[int, ...]:
    """Return the elements of a mask, counted from 1."""
    return tuple(index + 1 for index in range(mask.bit_length()) if mask >> index & 1)


@dataclass(frozen=True, slots=True)
class Picture:
    """What the kernel shows, phase by phase. Overlaps only where the source has them."""

    reds: int = 0
    yellows: int = 0
    greens: int = 0
    walks: int = 0
    ped_clears: int = 0
    dont_walks: int = 0
    vehicle_calls: int = 0
    pedestrian_calls: int = 0
    phases_on: int = 0
    phases_next: int = 0
    overlap_reds: int = 0
    overlap_yellows: int = 0
    overlap_greens: int = 0


@dataclass(frozen=True, slots=True)
class Lamps:
    """Lamps that are lit, channel by channel.

    ``red_enable`` is the wire that tells a conflict monitor whether missing reds mean anything:
    off while the junction flashes or is dark.
    """

    reds: int = 0
    yellows: int = 0
    greens: int = 0
    red_enable: bool = False


@lru_cache(1 << 8)
def _on_pedestrian_channels(phases: int) -> int:
    mask = 0
    for index, phase in enumerate(PEDESTRIAN_PHASES):
        if phases & bit(phase):
            mask |= bit(9 + index)
    return mask


def lamps_of(picture: Picture, channels: int) -> Lamps:
    """Wire a picture to lamp channels: vehicle phases 1-8 straight, pedestrians of 2, 4, 6, 8 on 9-12.

    Args:
        picture: what the kernel shows.
        channels: mask of the channels that have lamps.
    """
    greens = picture.greens | _on_pedestrian_channels(picture.walks)
    yellows = picture.yellows | _on_pedestrian_channels(picture.ped_clears)
    reds = picture.reds | _on_pedestrian_channels(picture.dont_walks)
    return Lamps(reds & channels, yellows & channels, greens & channels, red_enable=True)
