"""Identifiers. Lower case, ``a-z 0-9 -``, so that a topic, a table key and a label on a door agree."""

import re
from typing import NewType

CityId = NewType("CityId", str)
GatewayId = NewType("GatewayId", str)
EquipmentId = NewType("EquipmentId", str)
SignalGroupNumber = NewType("SignalGroupNumber", int)
PlanNumber = NewType("PlanNumber", int)

ID_LENGTH_MAX = 40
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


def is_id(text: str) -> bool:
    """True if ``text`` may name a city, a gateway or a piece of equipment (1..40 characters)."""
    return len(text) <= ID_LENGTH_MAX and _ID.fullmatch(text) is not None
