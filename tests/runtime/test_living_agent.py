"""The agent as a process: killed, stopped, restarted, started on what it cannot use."""

import asyncio
import resource
import shutil
import signal
import sqlite3
import sys
from contextlib import closing

from agent.wire.messages import Value
from simulators.cabinet import METER_UNIT, TIMEOUT
from tests.runtime.living import living_agent
from tests.runtime.rig import DUSK_LUX, NOON_LUX
from tests.waiting import wait_until

LEVEL: dict[str, Value] = {"level_percent": 50, "lease_s": 600}


async def test_when_the_agent_is_killed_the_cabinet_lights_its_lamps_and_a_new_start_restores_the_plan() -> None:
    async with living_agent() as agent:
        await agent.lamps(on=True, level_percent=80)
        assert (await agent.ask("set-level", {"level_percent": 40, "lease_s": 600})).ended == "done"
        agent.cabinet.model._holding[TIMEOUT] = 2
        await agent.end(signal.SIGKILL)
        await agent.lamps(on=True, level_percent=100)  # The safe mask, from the cabinet's own watchdog.
        assert agent.cabinet.model.watchdog_expired
        assert agent.cabinet.model.coils == [True] * 8
        await agent.start()
        await agent.lamps(on=True, level_percent=80)  # The plan: an override does not outlive the process that held it.
        assert not agent.cabinet.model.watchdog_expired
        assert [entry.kind for entry in await agent.log("agent.start", "command.done")] == [
            "agent.start",
            "command.done",
            "agent.start",
        ]
        assert (await agent.status()).counters == {"gw-darcy/tech/1": 1}


async def test_a_stop_is_in_order_and_leaves_the_lamps_as_they_are() -> None:
    async with living_agent() as agent:
        await agent.lamps(on=True, level_percent=80)
        heads = {head.stream: head.seq for head in (await agent.status()).heads}
        code, errors = await agent.end(signal.SIGTERM)
        assert (code, "Traceback" in errors) == (0, False)
        assert (agent.cabinet.model.coils[0], agent.cabinet.model.segments[0].level) == (True, 80)
        assert not (agent.site.parent / "state" / "agent.sock").exists()
        await agent.start()
        assert [entry.kind for entry in await agent.log("agent.start", "agent.stop")] == [
            "agent.start",
            "agent.stop",
            "agent.start",
        ]
        assert {head.stream: head.seq for head in (await agent.status()).heads}["audit"] >= heads["audit"] + 2


async def test_a_dead_cabinet_and_a_broker_that_is_not_there_do_not_end_the_agent() -> None:
    async with living_agent() as agent:
        agent.cabinet.fault("silent")
        agent.cabinet.fault("disconnect", unit=METER_UNIT)
        async with asyncio.timeout(20):
            while len(await agent.log("link.lost")) < 5:  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.05)
        assert agent.process is not None
        assert agent.process.returncode is None
        figures = (await agent.status()).figures
        assert figures["broker"] == "not connected"
        assert "last broker error" in figures


async def test_what_cannot_be_used_at_the_start_is_said_in_a_sentence() -> None:
    async with living_agent(is_started=False) as agent:
        state = agent.site.parent / "state"
        keys = state / "keys"

        async def refused() -> str:
            agent.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent.runtime", str(agent.site)),
                stderr=asyncio.subprocess.PIPE,
            )
            code, errors = await agent.end(signal.SIGCONT)  # It ends by itself.
            assert code == 2
            assert errors.endswith("The agent does not run; guard and equipment go on without it.\n")
            assert "Traceback" not in errors
            return errors

        text = agent.site.read_text()
        agent.site.write_text(text.replace('profile = "sdm630"', 'profile = "sdm999"'))
        assert "sdm999" in await refused()
        agent.site.write_text(text.replace("poll_ms = 500", 'poll_ms = "often"'))
        assert "poll_ms" in await refused()
        agent.site.write_text(text)
        (keys / "agent.pem").chmod(0o644)
        assert "agent.pem" in await refused()
        shutil.rmtree(keys)
        assert "enrol the gateway first" in await refused()


FAULTY = """
import sys
from agent.runtime.__main__ import main
from agent.runtime.journal import Journal
commit = Journal._commit
def fail_at_the_third(journal, group):
    if journal.commits < 2:
        return commit(journal, group)
    raise ValueError("a fault of ours")
Journal._commit = fail_at_the_third
sys.exit(main(sys.argv[1:]))
"""


async def test_a_journal_whose_writer_ends_ends_the_agent_with_a_sentence() -> None:
    async with living_agent(is_started=False) as agent:
        agent.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FAULTY, str(agent.site)), stderr=asyncio.subprocess.PIPE
        )
        code, errors = await agent.end(signal.SIGCONT)  # It ends by itself.
        assert code == 2
        assert "agent: the journal's writer has ended: ValueError: a fault of ours; it must be started anew\n" in errors


async def test_a_disk_that_takes_nothing_for_a_while_costs_no_lamp_and_no_record() -> None:
    async with living_agent() as agent:
        await agent.lamps(on=True, level_percent=80)
        assert agent.process is not None
        pid = agent.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))  # Every write to a file fails from here on.
        agent.cabinet.fault("silent", unit=METER_UNIT)
        agent.cabinet.set(lux=NOON_LUX)
        await wait_until(lambda: not agent.cabinet.model.coils[0])
        refused = await agent.ask("set-level", LEVEL)
        assert refused.ended == "failed"
        assert "the disk did not take the command's counter" in refused.reason
        assert any("the disk takes no records" in each for each in (await agent.status()).warnings)
        agent.cabinet.set(lux=DUSK_LUX)
        await agent.lamps(on=True, level_percent=80)
        assert agent.process.returncode is None

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        async with asyncio.timeout(20):
            while (await agent.status()).warnings or not await agent.log("link.lost"):  # noqa: ASYNC110 - from outside
                await asyncio.sleep(0.05)
        assert (await agent.ask("set-level", LEVEL)).ended == "done"
        kinds = [entry.kind for entry in await agent.log("link.lost", "command.failed", "command.done")]
        assert sorted(kinds) == ["command.done", "command.failed", "link.lost"]
        figures = (await agent.status()).figures
        assert (figures["records dropped"], isinstance(figures["disk failures"], int)) == (0, True)


async def test_a_damaged_journal_is_put_aside_and_said_and_the_lamps_do_not_care() -> None:
    async with living_agent() as agent:
        await agent.lamps(on=True, level_percent=80)
        await agent.end(signal.SIGTERM)
        database = agent.site.parent / "state" / "agent.db"
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE links SET sealed = x'0102' WHERE stream = 'audit'")
        agent.cabinet.set(lux=NOON_LUX)
        await agent.start()
        await wait_until(lambda: not agent.cabinet.model.coils[0])
        (warning,) = (await agent.status()).warnings
        assert warning.startswith("the journal was damaged and begun anew; the old one is agent.db.damaged-")
        assert len(await agent.log("ledger.damaged")) == 1
