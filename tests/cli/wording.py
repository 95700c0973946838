"""What guard and agent say, word for word, for the canned cabinet. ``test_wording`` holds it against their sources."""

from agent.guard.guarded import RESET_HERE
from agent.process.gatekeeper import NOTHING_SENT
from agent.safety.mode import SUPERVISED

__all__ = [
    "ENDS",
    "LINK",
    "NOTHING_SENT",
    "RESET_HERE",
    "STATES",
    "SUPERVISED",
    "WOULD_DO",
    "ended",
    "latched",
    "state_after",
]

LINK = "answers"
WOULD_DO = "every rule lets it pass"
ENDS = {
    "select-plan": "plan {plan} requested and read back",
    "flash": "flash requested and read back",
    "release": "released and read back",
    "lower": "lowering was asked and seen",
    "raise": "rising was asked and seen",
    "set-level": "level {level_percent} % set and read back",
    "release-level": "back to the local plan, 80 %",
    "reset": "SR-02 reset on site",
}
STATES = {
    "j-republique": "aspects GRRY, pattern 2, system-control",
    "j-wilson": "aspects RRRR, pattern 1, timebase",
    "bollard-rameau": "down at 0 %, loop A occupied",
    "seg-darcy-1": "lit at 40 %, night",
    "lamp-darcy-101": "nothing of it is controlled here",
}
LEVELS = {"set-level": "lit at {level_percent} %", "release-level": "lit at 80 %"}


def ended(verb: str, args: object) -> str:
    """How a command that was carried out reads."""
    assert isinstance(args, dict)
    return ENDS.get(verb, "released and read back").format_map({"plan": 2, "level_percent": 40} | args)


def state_after(verb: str, args: object, equipment: str) -> str:
    """The state that is told when a command was carried out."""
    assert isinstance(args, dict)
    return LEVELS.get(verb, STATES.get(equipment, "not observed yet")).format_map({"level_percent": 40} | args)


def latched(equipment: str, rule: str, reason: str) -> str:
    """The guard's warning of a latch."""
    return f"{equipment}: latched by {rule}, reset only at the open cabinet: {reason}"
