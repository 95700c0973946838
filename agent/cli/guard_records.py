"""The guard's sealed records: from the guard itself, or with the guard down from its database, which is only read."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.cli.ending import FailedError, UnreachableError
from agent.cli.gateway import Gateway, expect
from agent.cli.link import Link
from agent.cli.words import clean, sentence
from agent.ledger.at_rest import LedgerAtRest
from agent.ledger.errors import LedgerBusyError, LedgerError
from agent.wire.local import GetLog, GetSafetyPage, GetStatus, LogEntry, LogIs, SafetyPage, Status

STREAM = "safety"
LEDGER_FILE = "guard.db"
PAGE_LINKS = 64
GUARD_LOG_MAX = 500
"""The most events one answer of the guard carries."""
T = TypeVar("T")
ASLEEP = "the guard is down; read from its database, which stays as it is"


@dataclass(slots=True)
class GuardRecords:
    """One cabinet's safety stream.

    Args:
        is_at_rest: the guard is down; everything comes from its database. Found out by the first question.
    """

    gateway: Gateway
    is_at_rest: bool = False

    @property
    def folder(self) -> Path:
        """Where the guard keeps its socket and its records: its own folder beside the agent's, if it has one."""
        own = self.gateway.state.with_name(f"{self.gateway.state.name}-guard")
        is_shared = os.path.lexists(self.gateway.state / "guard.sock") or (self.gateway.state / LEDGER_FILE).exists()
        return own if not is_shared and own.is_dir() else self.gateway.state

    @property
    def _guard(self) -> Link:
        return Link("guard", self.folder / "guard.sock")

    @property
    def _ledger(self) -> LedgerAtRest:
        return LedgerAtRest(self.folder / LEDGER_FILE)

    def log(self, equipment: str, since_ms: int, limit: int) -> list[LogEntry]:
        """The newest events, newest last.

        Raises:
            UnreachableError: the guard does not answer, and its database cannot be read either.
        """
        try:
            asked = GUARD_LOG_MAX if since_ms else limit
            reply = expect(self._guard.ask(GetLog(equipment, asked)), LogIs, "guard")
        except UnreachableError as error:
            return self._rest(error, lambda: self._ledger.log(STREAM, equipment, since_ms, limit))
        entries = [each for each in reply.entries if each.stream == STREAM]
        recent = [each for each in entries if each.t_ms >= since_ms]
        if since_ms and len(reply.entries) >= GUARD_LOG_MAX and len(recent) == len(entries):
            self.gateway.tell(f"only the newest {GUARD_LOG_MAX} were looked at; `armoire guard export` writes out all")
        return recent[-limit:]

    def city(self) -> str:
        """The city as the guard says, empty if it is down."""
        try:
            return expect(self._guard.ask(GetStatus()), Status, "guard").city
        except UnreachableError:
            return ""

    def links(self) -> Iterator[bytes]:
        """Every link kept, oldest first, up to the newest there was at the beginning; some at a time.

        Raises:
            UnreachableError: as ``log``; also if the guard starts or ends meanwhile.
        """
        after, newest = 0, None
        while newest is None or after < newest:  # Numbers rise: it ends at the newest.
            page = self._page(after)
            newest = page.newest if newest is None else newest
            if not page.links:
                return
            for number, sealed in page.links:
                if number <= after:
                    raise FailedError("The guard handed out its records in no order.")
                if number > newest:
                    return
                after = number
                yield sealed

    def _page(self, after: int) -> SafetyPage:
        if self.is_at_rest:
            return self._page_at_rest(after)
        try:
            reply = self._guard.ask(GetSafetyPage(after, PAGE_LINKS))
        except UnreachableError as error:
            if after:
                raise
            return self._rest(error, lambda: self._page_at_rest(after))
        return expect(reply, SafetyPage, "guard")

    def _page_at_rest(self, after: int) -> SafetyPage:
        try:
            page = self._ledger.page(STREAM, after, PAGE_LINKS)
        except LedgerBusyError as error:
            if after:
                raise UnreachableError("the guard has started meanwhile", advice="ask again") from error
            raise
        return SafetyPage(page.newest_id, page.rows)

    def _rest(self, why: UnreachableError, read: Callable[[], T]) -> T:
        """Read the database of a guard that does not answer; with a guard that lives and hangs, it is the guard's."""
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
        self.gateway.say_once(ASLEEP)
        return found
