"""The grammar of commands: every verb there is, its arguments, and what it becomes. Nothing here sets a green.

Whatever is not in VERBS cannot be expressed past this module: it is refused by SR-01. Arguments outside the grammar
are refused by SR-08. Whether a well-formed command may be carried out is for the kernel to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.model.command import (
    COMMAND_CLASS,
    Command,
    CommandClass,
    LowerBollard,
    Origin,
    RaiseBollard,
    ReleaseJunction,
    ReleaseLevel,
    RequestFlash,
    ResetLatch,
    SelectPlan,
    SetLevel,
)
from agent.model.equipment import Kind
from agent.model.identity import EquipmentId, PlanNumber
from agent.model.observation import Scalar
from agent.safety.verdict import Refused

LEASE_S_MAX = 7 * 24 * 3600
"""The grammar's bound, a week; the kernel's are far shorter (SR-10, LR-02)."""
PLAN_MAX = 253
"""NTCIP 1202 systemPatternControl: 1..253 are plans, 254 is free, 255 is flash; neither is a plan to select."""

Arguments = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: a whole number.

    Args:
        expected: what a person should have written.
    """

    name: str
    least: int
    most: int
    expected: str


PLAN = Argument("plan", 1, PLAN_MAX, f"a plan number 1..{PLAN_MAX}")
LEASE = Argument("lease_s", 1, LEASE_S_MAX, f"whole seconds 1..{LEASE_S_MAX}")
LEVEL = Argument("level_percent", 0, 100, "whole percent 0..100")


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Args:
        kinds: the equipment it is for.
        build: makes the command from equipment, origin and the numbers named by ``arguments``, in that order.
    """

    name: str
    command: type[Command]
    kinds: tuple[Kind, ...]
    arguments: tuple[Argument, ...]
    build: Callable[[EquipmentId, Origin, tuple[int, ...]], Command]


def _select_plan(equipment: EquipmentId, origin: Origin, numbers: tuple[int, ...]) -> Command:
    plan, lease_s = numbers
    return SelectPlan(equipment, origin, PlanNumber(plan), lease_s * 1000)


def _flash(equipment: EquipmentId, origin: Origin, numbers: tuple[int, ...]) -> Command:
    return RequestFlash(equipment, origin, numbers[0] * 1000)


def _set_level(equipment: EquipmentId, origin: Origin, numbers: tuple[int, ...]) -> Command:
    level_percent, lease_s = numbers
    return SetLevel(equipment, origin, level_percent, lease_s * 1000)


def _plain(
    command: type[ReleaseJunction | LowerBollard | RaiseBollard | ReleaseLevel | ResetLatch],
) -> Callable[[EquipmentId, Origin, tuple[int, ...]], Command]:
    def build(equipment: EquipmentId, origin: Origin, _numbers: tuple[int, ...]) -> Command:
        return command(equipment, origin)

    return build


_ALL = (
    Verb("select-plan", SelectPlan, (Kind.JUNCTION,), (PLAN, LEASE), _select_plan),
    Verb("flash", RequestFlash, (Kind.JUNCTION,), (LEASE,), _flash),
    Verb("release", ReleaseJunction, (Kind.JUNCTION,), (), _plain(ReleaseJunction)),
    Verb("lower", LowerBollard, (Kind.BOLLARD,), (), _plain(LowerBollard)),
    Verb("raise", RaiseBollard, (Kind.BOLLARD,), (), _plain(RaiseBollard)),
    Verb("set-level", SetLevel, (Kind.SEGMENT,), (LEVEL, LEASE), _set_level),
    Verb("release-level", ReleaseLevel, (Kind.SEGMENT,), (), _plain(ReleaseLevel)),
    Verb("reset", ResetLatch, (Kind.JUNCTION, Kind.BOLLARD), (), _plain(ResetLatch)),
)
VERBS: Mapping[str, Verb] = {verb.name: verb for verb in _ALL}
_NAME_OF: Mapping[type, str] = {verb.command: verb.name for verb in _ALL}


def verbs_of(kind: Kind) -> tuple[str, ...]:
    """The verbs this kind of equipment understands; empty for what is only read."""
    return tuple(verb.name for verb in _ALL if kind in verb.kinds)


def class_of(verb: str) -> CommandClass | None:
    """The class a verb belongs to, None if there is no such verb."""
    known = VERBS.get(verb)
    return None if known is None else COMMAND_CLASS[known.command]


def command_of(verb: str, equipment: str, args: Arguments, origin: Origin) -> Command | Refused:
    """Make the typed command, or say precisely what is wrong with the words."""
    known = VERBS.get(verb)
    if known is None:
        return Refused("SR-01", f"no such verb {verb!r}: there are {', '.join(VERBS)}")
    names = [argument.name for argument in known.arguments]
    for name in args:
        if name not in names:
            takes = f"takes {', '.join(names)}" if names else "takes no arguments"
            return Refused("SR-08", f"{verb} has no argument {name!r}: it {takes}")
    numbers = []
    for argument in known.arguments:
        if argument.name not in args:
            return Refused("SR-08", f"{verb} needs {argument.name}: {argument.expected}")
        value = args[argument.name]
        # A bool is an int to Python; to a person "true" is no number.
        if type(value) is not int or not argument.least <= value <= argument.most:
            return Refused("SR-08", f"{verb}: {argument.name} must be {argument.expected}, got {value!r:.60}")
        numbers.append(value)
    return known.build(EquipmentId(equipment), origin, tuple(numbers))


def words_of(command: Command) -> tuple[str, dict[str, Scalar]]:
    """The inverse of ``command_of``: verb and arguments; a lease is rounded down to whole seconds."""
    name = _NAME_OF[type(command)]
    match command:
        case SelectPlan():
            return name, {"plan": int(command.plan), "lease_s": command.lease_ms // 1000}
        case RequestFlash():
            return name, {"lease_s": command.lease_ms // 1000}
        case SetLevel():
            return name, {"level_percent": command.level_percent, "lease_s": command.lease_ms // 1000}
        case _:
            return name, {}
