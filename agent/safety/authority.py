"""Rules of authority: who may ask, in which mode, on what knowledge. Pure.

Source: docs/safety.md SR-11, SR-25, SR-28, SR-29. Roles are bound to keys; signatures were verified before.
"""

from agent.model.command import (
    COMMAND_CLASS,
    CommandClass,
    ReleaseJunction,
    ReleaseLevel,
    Role,
    SetLevel,
)
from agent.model.observation import Observed
from agent.safety.case import AnyCase
from agent.safety.mode import Mode
from agent.safety.verdict import Refused

LOCAL_PLAN_MAY = (SetLevel, ReleaseLevel, ReleaseJunction)
SUBJECTS_MIN_DEGRADING = 2
OBSERVATION_AGE_MS_MAX = 3_000
"""Three polls of a second; older is history, not an observation. Ours."""


def origin_suffices(case: AnyCase) -> Refused | None:
    """SR-25: each class of command needs its signatures.

    A technician at the open cabinet with the key turned stands for the second signature of a degrading command: who
    stands there can switch the junction to flash by hand, and should do it where it is recorded.
    """
    command, origin = case.command, case.command.origin
    if origin.role is Role.LOCAL_PLAN:
        if isinstance(command, LOCAL_PLAN_MAY):
            return None
        return Refused("SR-25", "the local plan may set lamp levels and release, nothing else")
    signers = len({subject for subject in origin.subjects if subject})
    if not signers:
        return Refused("SR-25", "nobody signed")
    is_technician = origin.role is Role.TECHNICIAN
    needs = COMMAND_CLASS[type(command)]
    if needs is CommandClass.R4_CONFIGURATION and not is_technician:
        return Refused("SR-25", "only a technician on site may do this, never an operator")
    on_site = is_technician and case.is_on_site
    if needs is CommandClass.R3_DEGRADING and signers < SUBJECTS_MIN_DEGRADING and not on_site:
        return Refused("SR-25", "a second person must sign, or a technician at the open cabinet with the key turned")
    return None


def fleet_is_heard(case: AnyCase) -> Refused | None:
    """SR-11: while the fleet is silent, nobody far away takes hold of anything."""
    if case.standing.mode.mode is Mode.AUTONOMOUS and case.command.origin.role is Role.OPERATOR:
        return Refused("SR-11", f"local plans run: {case.standing.mode.cause}")
    return None


def nobody_works_there(case: AnyCase, _seen: Observed) -> Refused | None:
    """SR-29: while somebody works at the equipment, only a technician moves it."""
    mode = case.standing.local or case.standing.mode
    if mode.mode is Mode.LOCAL and case.command.origin.role is not Role.TECHNICIAN:
        return Refused("SR-29", f"somebody works there: {mode.cause}; cleared by {mode.cleared_by}")
    return None


def observation_is_fresh(case: AnyCase, seen: Observed | None) -> Refused | None:
    """SR-28: no verdict on equipment that is not seen now."""
    if seen is None:
        return Refused("SR-28", f"{case.equipment.id} has not been read yet")
    age_ms = case.now_ms - seen.at_ms
    if not 0 <= age_ms <= OBSERVATION_AGE_MS_MAX:
        return Refused("SR-28", f"{case.equipment.id} was last read {age_ms} ms ago; its state is not known now")
    return None
