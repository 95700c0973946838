"""The lease and the database its row is in: takes one step after another, and never waits longer than a lease lasts."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from fleet import lease_rows
from fleet.errors import StoreError
from fleet.fence import now_ms
from fleet.lease import LEASE_MS, Lease, LeaseRow, Step
from fleet.lease_rows import Claim

ANSWER_S = LEASE_MS / 1000
"""A store that takes longer to answer is of no use for a lease."""

T = TypeVar("T")


def new_life() -> str:
    """A name for this process that no other has."""
    return secrets.token_hex(8)


class LeaseStore:
    """The lease and the database its row is in.

    Args:
        claim: who we are. log: what the log of the store is called if it is shared and nobody has named it yet.

    Raises:
        StoreError: the row cannot be read.
    """

    def __init__(self, engine: Engine, claim: Claim, log: str) -> None:
        self.lease = Lease(claim.holder, claim.life)
        self.claim = claim
        self._engine = engine
        with suppress(StoreError):  # Another manager may have made it in the same moment.
            self._run(lambda connection: lease_rows.prepare(connection, log))
        self.row = self._run(lease_rows.read)
        """As last read or written, by whomever."""

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise StoreError(f"the lease: {error.__cause__ or error}") from error

    async def ask(self, work: Callable[[Connection], T]) -> T:
        """Run one piece of work on the row.

        Raises:
            StoreError: it did not answer in time, and nobody knows what came of it, or it said no.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.to_thread(self._run, work)
        except TimeoutError as error:
            raise StoreError(f"the lease: no answer within {ANSWER_S} s") from error

    async def step(self, above: int, unix_ms: int) -> None:
        """Take the next step, whatever it is.

        Raises:
            StoreError: as ``ask``.
        """
        lease, asked_ms = self.lease, now_ms()
        step = lease.next(asked_ms)
        try:
            match step:
                case Step.LOOK:
                    self.row = await self.ask(lease_rows.read)
                    lease.looked(self.row, now_ms())
                case Step.TAKE:
                    assert lease.row is not None
                    work = partial(lease_rows.take, seen=lease.row, claim=self.claim, above=above, unix_ms=unix_ms)
                    self._settle(await self.ask(work), lease.took, asked_ms)
                case Step.RENEW:
                    work = partial(lease_rows.renew, life=lease.life, term=lease.term)
                    self._settle(await self.ask(work), lease.renewed, asked_ms)
                case Step.RELEASE:
                    try:
                        await self.ask(partial(lease_rows.release, life=lease.life, term=lease.term))
                    finally:
                        lease.released(now_ms())
        except StoreError:
            lease.failed(step, now_ms())
            raise

    def _settle(self, row: LeaseRow | None, ours: Callable[[LeaseRow, int], None], asked_ms: int) -> None:
        if row is None:
            self.lease.lost(now_ms())
            return
        self.row = row
        ours(row, asked_ms)

    def close(self) -> None:
        """Give the database back."""
        self._engine.dispose()
