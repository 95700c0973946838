"""Values of NTCIP objects: group masks and small numbers. Pure."""

from collections.abc import Iterable

from drivers.errors import DeviceNonsenseError

Value = int | bytes | None
"""What a controller answers for one object; None: it has no such object."""

GROUPS_MAX = 8  # eight groups of eight make the 64 signal groups a junction may have
GROUP_BITS = 8


def groups_of(mask: int) -> tuple[int, ...]:
    """Return the numbers of the group objects, from 1, that carry the bits of a 64-bit mask."""
    return tuple(group for group in range(1, GROUPS_MAX + 1) if mask >> GROUP_BITS * (group - 1) & 0xFF)


def whole(name: str, value: Value, low: int, high: int) -> int:
    """Return an integer object's value.

    Some controllers answer numbers as octet strings, of one octet up to 255 and else of two, the high one first.

    Raises:
        DeviceNonsenseError: not a whole number in ``low..high``.
    """
    if isinstance(value, bytes) and 1 <= len(value) <= (high.bit_length() + 7) // 8:
        value = int.from_bytes(value)
    if not isinstance(value, int) or not low <= value <= high:
        raise DeviceNonsenseError(f"{name}: expected {low}..{high}, got {value!r}")
    return value


def join(name: str, octets: Iterable[tuple[int, Value]]) -> int:
    """Join group objects ``(group number from 1, value)`` to one mask, element n at bit n - 1.

    Raises:
        DeviceNonsenseError: a value is neither 0..255 nor one octet. A longer string is refused, because which
            of its octets is which group is nowhere said.
    """
    mask = 0
    for group, value in octets:
        mask |= whole(f"{name}.{group}", value, 0, 0xFF) << GROUP_BITS * (group - 1)
    return mask
