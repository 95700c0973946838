"""Commands: the complete list of what anyone may ask. There is no verb that sets a green.

Each command names its equipment and where it came from. What is not in this list cannot be expressed past
``agent.wire.verbs`` and is refused there by SR-01.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from agent.model.identity import EquipmentId, PlanNumber


class CommandClass(IntEnum):
    """How much harm a command could do; what it needs is in ``agent.safety.authority``."""

    R0_READ = 0
    R1_BOUNDED = 1
    R2_SITUATIONAL = 2
    R3_DEGRADING = 3
    R4_CONFIGURATION = 4


class Role(StrEnum):
    """Who speaks. A role is bound to a key in the signed key list, never claimed in a message."""

    LOCAL_PLAN = "local-plan"
    OPERATOR = "operator"
    TECHNICIAN = "technician"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked, as proven by signatures.

    Args:
        subjects: distinct signers; the first is the issuer. Empty only for the local plan.
        role: the issuer's role.
        keys: name and public key of every key that signed, for what happens to keys later. No rule asks for them.
    """

    role: Role
    subjects: tuple[str, ...] = ()
    keys: tuple[tuple[str, bytes], ...] = field(default=(), compare=False, repr=False)


LOCAL_PLAN = Origin(Role.LOCAL_PLAN)


@dataclass(frozen=True, slots=True)
class SelectPlan:
    """Run a commissioned signal plan until the lease ends (NTCIP systemPatternControl 1..253)."""

    equipment: EquipmentId
    origin: Origin
    plan: PlanNumber
    lease_ms: int


@dataclass(frozen=True, slots=True)
class RequestFlash:
    """Ask the controller for yellow flash until the lease ends (NTCIP systemPatternControl 255)."""

    equipment: EquipmentId
    origin: Origin
    lease_ms: int


@dataclass(frozen=True, slots=True)
class ReleaseJunction:
    """Give control back to the controller's own plan: zeros everywhere. Always allowed."""

    equipment: EquipmentId
    origin: Origin


@dataclass(frozen=True, slots=True)
class LowerBollard:
    """Lower a bollard: the safe direction."""

    equipment: EquipmentId
    origin: Origin


@dataclass(frozen=True, slots=True)
class RaiseBollard:
    """Raise a bollard: the dangerous verb (SR-19)."""

    equipment: EquipmentId
    origin: Origin


@dataclass(frozen=True, slots=True)
class SetLevel:
    """Hold a lighting segment at a level until the lease ends.

    Args:
        level_percent: 0..100 of full light.
    """

    equipment: EquipmentId
    origin: Origin
    level_percent: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class ReleaseLevel:
    """End an override: the segment returns to its local plan."""

    equipment: EquipmentId
    origin: Origin


@dataclass(frozen=True, slots=True)
class ResetLatch:
    """Clear a latched safety fault. Only on site, door open and local key turned (SR-13)."""

    equipment: EquipmentId
    origin: Origin


@dataclass(frozen=True, slots=True)
class PriorityRequest:
    """Ask a junction to favour one vehicle. No verb says this yet: its driver comes later (SR-15).

    Args:
        vehicle: who asks, 1 or more.
        level: 1 is the weakest; the junction's ceiling is commissioned.
        presence_ms: how long the vehicle may be waited for.
    """

    equipment: EquipmentId
    origin: Origin
    vehicle: int
    level: int
    presence_ms: int


@dataclass(frozen=True, slots=True)
class ShowTemplate:
    """Show a commissioned text until the lease ends. No verb says this yet: its driver comes later (SR-18).

    Args:
        crc: of the message as it will be activated.
    """

    equipment: EquipmentId
    origin: Origin
    template: int
    crc: int
    lease_ms: int


Command = (
    SelectPlan
    | RequestFlash
    | ReleaseJunction
    | LowerBollard
    | RaiseBollard
    | SetLevel
    | ReleaseLevel
    | ResetLatch
    | PriorityRequest
    | ShowTemplate
)

COMMAND_CLASS: dict[type, CommandClass] = {
    SelectPlan: CommandClass.R1_BOUNDED,
    RequestFlash: CommandClass.R3_DEGRADING,
    ReleaseJunction: CommandClass.R1_BOUNDED,
    LowerBollard: CommandClass.R1_BOUNDED,
    RaiseBollard: CommandClass.R2_SITUATIONAL,
    SetLevel: CommandClass.R1_BOUNDED,
    ReleaseLevel: CommandClass.R1_BOUNDED,
    ResetLatch: CommandClass.R4_CONFIGURATION,
    PriorityRequest: CommandClass.R1_BOUNDED,
    ShowTemplate: CommandClass.R1_BOUNDED,
}
