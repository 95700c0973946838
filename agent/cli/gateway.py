"""The gateway as the technician reaches it: the agent for everything, the guard when the agent is down."""

import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from agent.cli.ending import FailedError, UnreachableError, UsageError
from agent.cli.link import Link
from agent.cli.words import clean, sentence
from agent.model.identity import is_id
from agent.wire.local import EquipmentIs, EquipmentView, GetEquipment, GetStatus, Reply, Request, Status

STATE_VARIABLE = "ARMOIRE_STATE"
STATE_DEFAULT = Path("/var/lib/armoire")
EQUIPMENT_UNTOUCHED = "nothing was sent to the equipment; whatever hears no more from the gateway follows its own plan"

R = TypeVar("R", bound=Reply)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass(slots=True)
class Gateway:
    """Both processes of one cabinet, by the folder their sockets are in.

    Args:
        tell: takes remarks that are not the answer.
    """

    state: Path
    tell: Callable[[str], None] = _to_stderr
    _told: bool = field(default=False, init=False)
    _agent_error: UnreachableError | None = field(default=None, init=False)

    def link(self, process: str) -> Link:
        """The way to ``agent`` or ``guard``."""
        return Link(process, self.state / f"{process}.sock")

    def read(self, request: Request, kind: type[R]) -> tuple[R, str]:
        """Ask the agent, or the guard if the agent is down; return the answer and who gave it.

        Raises:
            UnreachableError: neither answers.
            FailedError: the one that answers could not.
        """
        if self._agent_error is None:
            try:
                return expect(self.link("agent").ask(request), kind, "agent"), "agent"
            except UnreachableError as error:
                self._agent_error = error  # Asked once: a process that hangs costs its whole timeout.
        try:
            reply = expect(self.link("guard").ask(request), kind, "guard")
        except UnreachableError as error:
            raise self.silent(self._agent_error, error) from error
        self.say_once("agent is down; showing the guard's view")
        return reply, "guard"

    def status(self, process: str) -> Status:
        """Ask one process how it is."""
        return expect(self.link(process).ask(GetStatus()), Status, process)

    def guards_nothing(self) -> bool:
        """Whether the agent knows its cabinet to have nothing under guard: then no guard runs, and none is missing."""
        try:
            views = expect(self.link("agent").ask(GetEquipment("")), EquipmentIs, "agent").equipment
        except (UnreachableError, FailedError):
            return False
        return all(view.executor != "guard" for view in views)

    def equipment(self) -> tuple[list[EquipmentView], str]:
        """Every piece of equipment, and who sees it so."""
        reply, process = self.read(GetEquipment(""), EquipmentIs)
        return reply.equipment, process

    def find(self, name: str) -> tuple[EquipmentView, str]:
        """One piece of equipment, and who sees it so.

        Raises:
            UsageError: there is none of that name; the nearest are suggested.
        """
        if not is_id(name):
            raise UsageError(
                f"{clean(name)!r} cannot be an equipment's id",
                advice="ids are 1..40 characters a-z, 0-9 and -; `armoire equipment` lists them",
            )
        failed: FailedError | None = None
        try:
            reply, process = self.read(GetEquipment(name), EquipmentIs)
            found = [view for view in reply.equipment if view.id == name]
            if found:
                return found[0], process
        except FailedError as error:
            failed = error
        everything, process = self.equipment()
        if failed is not None and any(view.id == name for view in everything):
            raise failed
        if process == "guard":
            raise UnreachableError(
                f"the agent is down and the guard knows no equipment {name!r}",
                EQUIPMENT_UNTOUCHED,
                "start the agent; only what the guard protects can be reached without it",
            ) from failed
        near = difflib.get_close_matches(name, [view.id for view in everything], n=3)
        meant = f"did you mean {' or '.join(map(clean, near))}? " if near else ""
        raise UsageError(
            f"the {process} knows no equipment {name!r}", advice=f"{meant}`armoire equipment` lists what there is"
        ) from failed

    def silent(self, agent: UnreachableError, guard: UnreachableError) -> UnreachableError:
        """The error for a cabinet where nobody answers."""
        advice = agent.advice or guard.advice
        if not advice:
            named = "" if self.state != STATE_DEFAULT else f", or name another folder with --state or {STATE_VARIABLE}"
            advice = f"start them with `armoire run SITE.toml`{named}"
        no_guard = ", and needs none where nothing is under guard" if guard.absent else ""
        return UnreachableError(
            f"{sentence(agent.what)} {sentence(f'{guard.what[:1].upper()}{guard.what[1:]}{no_guard}')}",
            EQUIPMENT_UNTOUCHED,
            advice,
        )

    def say_once(self, text: str) -> None:
        """Tell which process is missing, the first time it matters."""
        if not self._told:
            self._told = True
            self.tell(text)


def expect(reply: Reply, kind: type[R], process: str) -> R:
    """Take the reply only if it answers what was asked.

    Raises:
        UnreachableError: it answers something else.
    """
    if isinstance(reply, kind):
        return reply
    raise UnreachableError(
        f"the {process} answered another question ({type(reply).__name__} instead of {kind.__name__})",
        advice="check that it and this program are of the same version: armoire --version",
        sent=True,
    )


def state_folder(option: Path | None) -> Path:
    """Where the sockets are: the option, else ARMOIRE_STATE, else /var/lib/armoire."""
    return option or Path(os.environ.get(STATE_VARIABLE) or STATE_DEFAULT)
