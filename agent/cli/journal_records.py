"""The sealed streams of one process: from itself, or with the process down from its database, which is only read."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

from agent.cli.ending import FailedError, UnreachableError
from agent.cli.gateway import Gateway, expect
from agent.cli.link import Link
from agent.cli.words import clean, sentence
from agent.ledger.at_rest import LedgerAtRest
from agent.ledger.errors import LedgerBusyError, LedgerError
from agent.wire.local import GetLog, GetPage, GetStatus, LogEntry, LogIs, PageIs, Status

STREAMS = {"agent": ("alarm", "state", "tele", "audit"), "guard": ("safety",)}
PAGE_LINKS = 64
GUARD_LOG_MAX = 500
"""The most events one answer of the guard carries."""
T = TypeVar("T")


@dataclass(slots=True)
class Records:
    """What one process of a cabinet has sealed and still keeps.

    Args:
        is_at_rest: the process is down; everything comes from its database. Found out by the first question.
    """

    gateway: Gateway
    process: Literal["agent", "guard"]
    is_at_rest: bool = False
    _at_rest: LedgerAtRest | None = field(default=None, init=False)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams this process seals."""
        return STREAMS[self.process]

    @property
    def folder(self) -> Path:
        """Where the process keeps its socket and its records: a guard's own folder is beside the agent's."""
        state = self.gateway.state
        if self.process == "agent":
            return state
        own = state.with_name(f"{state.name}-guard")
        is_shared = os.path.lexists(state / "guard.sock") or (state / "guard.db").exists()
        return own if not is_shared and own.is_dir() else state

    @property
    def _link(self) -> Link:
        return Link(self.process, self.folder / f"{self.process}.sock")

    @property
    def _ledger(self) -> LedgerAtRest:
        if self._at_rest is None:
            self._at_rest = LedgerAtRest(self.folder / f"{self.process}.db")
        return self._at_rest

    def log(self, equipment: str, since_ms: int, limit: int) -> list[LogEntry]:
        """The newest events of the process's only stream, newest last.

        Raises:
            UnreachableError: the process does not answer, and its database cannot be read either.
        """
        (stream,) = self.streams
        try:
            asked = GUARD_LOG_MAX if since_ms else limit
            reply = expect(self._link.ask(GetLog(equipment, asked)), LogIs, self.process)
        except UnreachableError as error:
            return self._rest(error, lambda: self._ledger.log(stream, equipment, since_ms, limit))
        entries = [each for each in reply.entries if each.stream == stream]
        recent = [each for each in entries if each.t_ms >= since_ms]
        if since_ms and len(reply.entries) >= GUARD_LOG_MAX and len(recent) == len(entries):
            self.gateway.tell(f"only the newest {GUARD_LOG_MAX} were looked at; `armoire guard export` writes out all")
        return recent[-limit:]

    def city(self) -> str:
        """The city as the process says, empty if it is down."""
        try:
            return expect(self._link.ask(GetStatus()), Status, self.process).city
        except UnreachableError:
            return ""

    def pages(self, stream: str, after: tuple[int, int] = (0, 0)) -> Iterator[PageIs]:
        """The links of a stream behind one of them, up to the newest there was at the beginning, some at a time.

        Raises:
            UnreachableError: as ``log``; also if the process starts or ends meanwhile.
        """
        end: tuple[int, int] | None = None
        while end is None or after < end:  # Numbers rise: it ends at the newest.
            page = self._page(stream, after)
            end = (page.newest.epoch, page.newest.seq) if end is None else end
            rows = [row for row in page.links if row[:2] <= end]
            numbers = [after, *(row[:2] for row in rows)]
            if any(later <= earlier for earlier, later in pairwise(numbers)):
                raise FailedError(f"The {self.process} handed out its records in no order.", "nothing was written")
            if not rows:
                return
            after = rows[-1][:2]
            yield PageIs(page.newest, page.kept_bytes, rows)

    def _page(self, stream: str, after: tuple[int, int]) -> PageIs:
        if self.is_at_rest:
            return self._page_at_rest(stream, after)
        try:
            reply = self._link.ask(GetPage(stream, *after, PAGE_LINKS))
        except UnreachableError as error:
            if after > (0, 0):
                raise
            return self._rest(error, lambda: self._page_at_rest(stream, after))
        return expect(reply, PageIs, self.process)

    def _page_at_rest(self, stream: str, after: tuple[int, int]) -> PageIs:
        try:
            page = self._ledger.page(stream, after, PAGE_LINKS)
        except LedgerBusyError as error:
            if self.is_at_rest:
                raise UnreachableError(f"the {self.process} has started meanwhile", advice="ask again") from error
            raise
        return PageIs(page.newest, page.kept_bytes, page.rows)

    def _rest(self, why: UnreachableError, read: Callable[[], T]) -> T:
        """Read the database of a process that does not answer; that of one that lives and hangs is its own."""
        try:
            found = read()
        except LedgerBusyError:
            raise why from None
        except LedgerError as error:
            raise UnreachableError(
                f"{sentence(why.what)} Its records cannot be read either: {clean(str(error))}",
                advice=why.advice or "name the gateway's folder with --state, or use sudo",
            ) from error
        self.is_at_rest = True
        self.gateway.say_once(f"the {self.process} is down; read from its database, which stays as it is")
        return found
