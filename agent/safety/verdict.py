"""Verdicts. Only the kernel can build an approval, and only an approval moves an actuator."""

from dataclasses import InitVar, dataclass
from typing import Generic, TypeGuard, TypeVar

from agent.model.command import Command

C = TypeVar("C", bound=Command, covariant=True)
K = TypeVar("K", bound=Command)


class _KernelSeal:
    """Held by the modules of ``agent.safety`` alone; a tidy test keeps it so."""

    __slots__ = ()


_SEAL = _KernelSeal()


@dataclass(frozen=True, slots=True)
class Approved(Generic[C]):
    """A command that passed every rule, at ``at_ms`` (monotonic). Drivers take nothing else.

    The seal is shown and not kept: nobody can take it from one approval to make another, by ``replace`` or by hand.
    """

    command: C
    at_ms: int
    seal: InitVar[_KernelSeal]

    def __post_init__(self, seal: _KernelSeal) -> None:
        if seal is not _SEAL:
            raise TypeError("only the safety kernel approves commands")


def approves(approved: Approved[Command], kind: type[K]) -> TypeGuard[Approved[K]]:
    """Whether an approval is of one kind of command; drivers ask for it by type."""
    return isinstance(approved.command, kind)


@dataclass(frozen=True, slots=True)
class Refused:
    """Policy said no.

    Args:
        rule: the rule's id, such as ``SR-19``; its row is in ``docs/safety.md``.
        reason: one sentence for the person who asked, with what was seen.
    """

    rule: str
    reason: str
