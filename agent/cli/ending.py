"""How a technician's command ends: an exit code for scripts, and for a person what happened, what it means, what to do."""

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of ``armoire``. 1 is left to crashes; 130 and 141 are what a shell expects of SIGINT and SIGPIPE."""

    DONE = 0
    USAGE = 2
    REFUSED = 3
    FAILED = 4
    EXPIRED = 5
    UNREACHABLE = 6
    UNSECONDED = 7
    INTERRUPTED = 130
    UNREAD = 141


class TechnicianError(Exception):
    """Root: the command cannot go on.

    Args:
        what: what happened, one sentence.
        state: what is known of the equipment now; empty if it was never touched.
        advice: what to do next.
    """

    exit: ClassVar[Exit] = Exit.FAILED

    def __init__(self, what: str, state: str = "", advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.state = state
        self.advice = advice


class UsageError(TechnicianError):
    """What was typed cannot be asked. Nothing was sent."""

    exit = Exit.USAGE


class UnreachableError(TechnicianError):
    """A process does not answer, or not in our language.

    Args:
        sent: the request may have arrived, so a command may have been carried out.
        absent: it has no socket here at all.
    """

    exit = Exit.UNREACHABLE

    def __init__(
        self, what: str, state: str = "", advice: str = "", *, sent: bool = False, absent: bool = False
    ) -> None:
        super().__init__(what, state, advice)
        self.sent = sent
        self.absent = absent


class FailedError(TechnicianError):
    """The process answered that it could not."""


class UnclearError(TechnicianError):
    """A command was sent and its outcome is not known."""
