"""Object identifiers of NTCIP 1202 and 1201, by the names of the standard.

Group objects carry eight elements each: bit 0 of group ``g`` is element ``8 (g - 1) + 1``.
Source   NTCIP 1202 v02 as found in public compiled MIBs, NTCIP 1201 v03. Tables with greens at column 4,
yellows at 3 and reds at 2; lists on the net that say 4, 5, 6 are wrong.
"""

ASC = "1.3.6.1.4.1.1206.4.2.1"
GLOBAL = "1.3.6.1.4.1.1206.4.2.6"

MAX_PHASES = f"{ASC}.1.1.0"
MAX_PHASE_GROUPS = f"{ASC}.1.3.0"
UNIT_BACKUP_TIME = f"{ASC}.3.3.0"
UNIT_CONTROL_STATUS = f"{ASC}.3.5.0"
UNIT_FLASH_STATUS = f"{ASC}.3.6.0"
COORD_PATTERN_STATUS = f"{ASC}.4.10.0"
SYSTEM_PATTERN_CONTROL = f"{ASC}.4.14.0"
MAX_CHANNEL_STATUS_GROUPS = f"{ASC}.8.3.0"
GLOBAL_SET_ID_PARAMETER = f"{GLOBAL}.1.1.0"

PATTERN_STANDBY = 0  # systemPatternControl: the controller is released to its own plan
PATTERN_MIN, PATTERN_MAX = 1, 253
PATTERN_FLASH = 255


def phase_status_group_reds(group: int) -> str:
    """PhaseStatusGroupReds of group 1..32."""
    return f"{ASC}.1.4.1.2.{group}"


def phase_status_group_yellows(group: int) -> str:
    """PhaseStatusGroupYellows of group 1..32."""
    return f"{ASC}.1.4.1.3.{group}"


def phase_status_group_greens(group: int) -> str:
    """PhaseStatusGroupGreens of group 1..32."""
    return f"{ASC}.1.4.1.4.{group}"


def phase_status_group_vehicle_calls(group: int) -> str:
    """PhaseStatusGroupVehCalls of group 1..32."""
    return f"{ASC}.1.4.1.8.{group}"


def phase_status_group_pedestrian_calls(group: int) -> str:
    """PhaseStatusGroupPedCalls of group 1..32."""
    return f"{ASC}.1.4.1.9.{group}"


def channel_status_group_reds(group: int) -> str:
    """ChannelStatusGroupReds of group 1..32: the closest thing to what the lamps show."""
    return f"{ASC}.8.4.1.2.{group}"


def channel_status_group_yellows(group: int) -> str:
    """ChannelStatusGroupYellows of group 1..32."""
    return f"{ASC}.8.4.1.3.{group}"


def channel_status_group_greens(group: int) -> str:
    """ChannelStatusGroupGreens of group 1..32."""
    return f"{ASC}.8.4.1.4.{group}"
