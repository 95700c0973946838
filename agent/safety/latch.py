"""Latches: a safety fault stays until somebody resets it at the open cabinet.

Source: docs/safety.md SR-13. Conflict monitors clear on their own front panel only, and switching power off and on does
not clear them; neither does restarting the gateway, because the guard keeps the latch on disk.
"""

from dataclasses import dataclass

from agent.model.identity import EquipmentId


@dataclass(frozen=True, slots=True)
class Latch:
    """A safety fault, kept on disk until it is reset on site.

    Args:
        rule: the rule that tripped first; later trips do not replace the first cause.
        since_unix_ms: wall time of that trip, for people.
        flash_requested: the controller was asked for flash because of this latch; it is not asked twice.
    """

    equipment: EquipmentId
    rule: str
    reason: str
    since_unix_ms: int
    flash_requested: bool
