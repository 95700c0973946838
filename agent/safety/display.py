"""Rules for text displays. Pure; no verb shows anything yet. Source: docs/safety.md SR-18; NTCIP 1203.

Hoaxes on signs came through default passwords and free text: nothing but commissioned templates is shown, and only if
three check sums agree: what was commissioned, what the display holds, what would be activated.
"""

from agent.model.command import ShowTemplate
from agent.model.equipment import Display
from agent.model.observation import DisplayObserved
from agent.safety.case import Case
from agent.safety.verdict import Refused

Show = Case[ShowTemplate, Display]

LOSS_MINUTES_MIN = 2
"""dmsTimeCommLoss: 0 would leave a dead gateway's text for ever; below 2 min a lost reply would blank it (IRIS)."""
SHOW_LEASE_MS_MAX = 24 * 3_600_000


def template_is_commissioned(case: Show, seen: DisplayObserved) -> Refused | None:
    """SR-18: own CRC = the display's CRC = the CRC of the activation."""
    template, templates = case.command.template, case.equipment.templates
    if template not in templates:
        known = ", ".join(map(str, sorted(templates))) or "none"
        return Refused("SR-18", f"template {template} is not commissioned here; {known} are")
    own, held, asked = templates[template], seen.crcs.get(template), case.command.crc
    if own == held == asked:
        return None
    words = "nothing" if held is None else f"{held:#06x}"
    return Refused("SR-18", f"template {template} is {own:#06x}, the display holds {words}, asked: {asked:#06x}")


def display_ends_by_itself(case: Show, seen: DisplayObserved) -> Refused | None:
    """SR-18: a display that loses us must fall back to its own message, and every text has an end."""
    if seen.loss_minutes is None or seen.loss_minutes < LOSS_MINUTES_MIN or not seen.loss_message:
        minutes = "not known" if seen.loss_minutes is None else f"{seen.loss_minutes} min"
        message = "set" if seen.loss_message else "not set"
        needs = f"needs {LOSS_MINUTES_MIN} min or more and a message"
        return Refused("SR-18", f"loss of communication {needs}; time: {minutes}, message: {message}")
    if not 0 < case.command.lease_ms <= SHOW_LEASE_MS_MAX:
        asked = f"{case.command.lease_ms / 1000:g} s"
        return Refused("SR-18", f"a text is shown for up to {SHOW_LEASE_MS_MAX // 3_600_000} h, asked: {asked}")
    return None


def display_is_not_local(_case: Show, seen: DisplayObserved) -> Refused | None:
    """SR-18: somebody at the display holds it."""
    return Refused("SR-18", "the display is in local mode") if seen.is_local else None
