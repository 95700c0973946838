"""A guard killed at every point of a command: what was signed once is carried out once at most."""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.process.client import PeerDownError
from agent.wire.local import OutcomeIs, Submit
from tests.attack.mortal import POINTS
from tests.attack.siege import PLAN, sealed_by
from tests.guard.living import PAUSE_S, START_TIMEOUT_S, J, LivingGuard, living_guard

pytestmark = pytest.mark.slow
ACTED = {"between the write and its reading back", "between the act and its record", "after the record"}
COUNTED = ACTED | {"between the counter and the act", "before the write"}


async def start_mortal(guard: LivingGuard, point: str) -> None:
    """Start a guard that will die there, and wait until it sees the junction."""
    guard.process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.attack.mortal", point, str(guard.site), stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                if (await guard.view()).link == "answers":
                    return
            except PeerDownError:
                assert guard.process.returncode is None
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def killed_at(point: str) -> AsyncIterator[tuple[LivingGuard, bytes]]:
    """A guard that died over one plan, and is running again; with the command as it was sent."""
    async with living_guard() as guard:
        await start_mortal(guard, point)
        people = guard.people
        nonce = (await guard.status()).nonce
        sealed = sealed_by(people, people.message(people.technician, J, "select-plan", nonce, PLAN), people.technician)
        with pytest.raises(PeerDownError):
            await guard.client.ask(Submit(sealed))
        assert guard.process is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            _, errors = await guard.process.communicate()
        assert guard.process.returncode == -signal.SIGKILL, errors.decode()
        await guard.client.close()
        await guard.start()
        yield guard, sealed


@pytest.mark.parametrize("point", [point for point in POINTS if point != "before the first reading"])
async def test_a_guard_killed_there_never_carries_out_a_command_twice(point: str) -> None:
    async with killed_at(point) as (guard, sealed):
        done = [2] if point in ACTED else []
        assert guard.patterns == done
        assert (await guard.view()).holding == ""
        counters = (await guard.status()).counters
        assert counters == ({guard.people.technician.kid.decode(): 1} if point in COUNTED else {})
        for _ in range(3):
            reply = await guard.client.ask(Submit(sealed))
            assert isinstance(reply, OutcomeIs)
            assert reply.outcome.ended == ("refused" if point in COUNTED else "expired")
        people = guard.people
        nonce = (await guard.status()).nonce
        again = people.message(people.technician, J, "select-plan", nonce, PLAN, counter=1)
        if point in COUNTED:  # Even signed anew, a number that was used is used.
            reply = await guard.client.ask(Submit(sealed_by(people, again, people.technician)))
            assert isinstance(reply, OutcomeIs)
            assert (reply.outcome.ended, reply.outcome.rule) == ("refused", "SR-25")
        assert guard.patterns == done
        assert (await guard.ask("release")).ended == "done"
        assert guard.patterns == [*done, 0]


async def test_a_guard_killed_before_it_has_seen_anything_starts_again() -> None:
    async with living_guard() as guard:
        guard.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.attack.mortal", "before the first reading", str(guard.site)
        )
        async with asyncio.timeout(START_TIMEOUT_S):
            assert await guard.process.wait() == -signal.SIGKILL
        await guard.start()
        assert (await guard.ask("select-plan", PLAN)).ended == "done"


async def test_a_database_set_back_to_an_older_copy_lets_no_old_command_pass() -> None:
    """The counters of the copy are too low; the nonce of the old start is gone all the same."""
    async with living_guard() as guard:
        await guard.start()
        assert (await guard.ask("release")).ended == "done"
        await guard.end(signal.SIGTERM)
        database = guard.site.parent / "state" / "guard.db"
        copy = guard.site.parent / "copy.db"
        shutil.copy(database, copy)
        await guard.start()
        people = guard.people
        nonce = (await guard.status()).nonce
        sealed = sealed_by(people, people.message(people.technician, J, "select-plan", nonce, PLAN), people.technician)
        reply = await guard.client.ask(Submit(sealed))
        assert isinstance(reply, OutcomeIs)
        assert reply.outcome.ended == "done"
        await guard.end(signal.SIGKILL)
        written = list(guard.patterns)
        for side in ("-wal", "-shm"):
            database.with_name(database.name + side).unlink(missing_ok=True)
        shutil.copy(copy, database)
        await guard.start()
        assert (await guard.status()).counters == {people.technician.kid.decode(): 1}
        reply = await guard.client.ask(Submit(sealed))
        assert isinstance(reply, OutcomeIs)
        assert (reply.outcome.ended, reply.outcome.rule) == ("expired", "SR-25")
        assert guard.patterns == written
