"""Object identifiers of NTCIP 1202 (signal controller) and 1201 (globals) used here.

Source: the public compiled MIBs of NTCIP 1202 v1/v2 and the official NTCIP 1201 MIB.
"""

Oid = tuple[int, ...]

NTCIP: Oid = (1, 3, 6, 1, 4, 1, 1206)
ASC: Oid = (*NTCIP, 4, 2, 1)
GLOBAL: Oid = (*NTCIP, 4, 2, 6)
SYS_DESCR: Oid = (1, 3, 6, 1, 2, 1, 1, 1, 0)

MAX_PHASES: Oid = (*ASC, 1, 1, 0)
PHASE_TABLE: Oid = (*ASC, 1, 2, 1)
MAX_PHASE_GROUPS: Oid = (*ASC, 1, 3, 0)
PHASE_STATUS: Oid = (*ASC, 1, 4, 1)
PHASE_CONTROL: Oid = (*ASC, 1, 5, 1)
DETECTOR_ACTIVE: Oid = (*ASC, 2, 4, 1, 2)
MAX_DETECTOR_GROUPS: Oid = (*ASC, 2, 11, 0)
VEHICLE_DETECTOR_CONTROL: Oid = (*ASC, 2, 12, 1, 2)
PED_DETECTOR_CONTROL: Oid = (*ASC, 2, 13, 1, 2)
UNIT: Oid = (*ASC, 3)
UNIT_BACKUP_TIME: Oid = (*UNIT, 3, 0)
UNIT_CONTROL_STATUS: Oid = (*UNIT, 5, 0)
UNIT_FLASH_STATUS: Oid = (*UNIT, 6, 0)
UNIT_ALARM_2: Oid = (*UNIT, 7, 0)
UNIT_ALARM_1: Oid = (*UNIT, 8, 0)
SHORT_ALARM: Oid = (*UNIT, 9, 0)
UNIT_CONTROL: Oid = (*UNIT, 10, 0)
SPECIAL_FUNCTION: Oid = (*UNIT, 14, 1)
COORD: Oid = (*ASC, 4)
COORD_PATTERN_STATUS: Oid = (*COORD, 10, 0)
LOCAL_FREE_STATUS: Oid = (*COORD, 11, 0)
SYSTEM_PATTERN_CONTROL: Oid = (*COORD, 14, 0)
SYSTEM_SYNC_CONTROL: Oid = (*COORD, 15, 0)
TIMEBASE_ACTION_STATUS: Oid = (*ASC, 5, 4, 0)
MAX_PREEMPTS: Oid = (*ASC, 6, 1, 0)
PREEMPT_STATE: Oid = (*ASC, 6, 2, 1, 16)
PREEMPT_CONTROL: Oid = (*ASC, 6, 3, 1, 2)
RING_CONTROL: Oid = (*ASC, 7, 5, 1)
MAX_CHANNELS: Oid = (*ASC, 8, 1, 0)
CHANNEL_TABLE: Oid = (*ASC, 8, 2, 1)
MAX_CHANNEL_GROUPS: Oid = (*ASC, 8, 3, 0)
CHANNEL_STATUS: Oid = (*ASC, 8, 4, 1)
OVERLAP_STATUS: Oid = (*ASC, 9, 4, 1)
GLOBAL_SET_ID: Oid = (*GLOBAL, 1, 1, 0)
GLOBAL_MODULE_MODEL: Oid = (*GLOBAL, 1, 3, 1, 4, 1)
GLOBAL_TIME: Oid = (*GLOBAL, 3, 1, 0)
COMMUNITY_ADMIN: Oid = (*GLOBAL, 5, 1, 0)


def dotted(oid: Oid) -> str:
    """Write an OID with dots."""
    return ".".join(map(str, oid))
