"""A cabinet boots in 1970, lights its lamps, seals what happens, learns the time; the manager shows when it all was."""

from pathlib import Path

from agent.ledger.linking import batch_of
from agent.process.timekeeper import Timekeeper
from agent.runtime.journal import STREAMS
from agent.wire.messages import Batch
from agent.wire.topics import up
from fleet import store
from fleet.folder import read_trust
from tests.fleet.intake import CITY, Bench
from tests.guard.rig import UNIX_MS
from tests.runtime.rig import SEGMENT, LampRig, lamp_rig


async def sealed(rig: LampRig) -> list[tuple[str, bytes]]:
    """Everything in the journal, as the courier would send it: alarms first, telemetry last."""
    await rig.log("x")
    await rig.samples("state", "tele")
    found = []
    for stream in STREAMS:
        page = await rig.journal.page(stream, (0, 0), 10_000)
        found += [(str(up(rig.people.city, rig.people.gateway, stream)), row[2]) for row in page.rows]
    return found


async def test_what_a_cabinet_seals_before_it_knows_the_time_is_dated_at_the_manager(tmp_path: Path) -> None:
    async with lamp_rig(wall_ms=-UNIX_MS) as rig:
        assert rig.people.city == CITY
        rig.people.clock_ms = lambda: UNIX_MS + rig.now_ms()
        keeper = Timekeeper(rig.agent._clock, rig.agent._note_time, rig.journal.keep_floor)
        await keeper.look()
        await rig.poll(4)
        done_ms = UNIX_MS + rig.now_ms()
        assert (await rig.set_level(rig.people.technician, 50, lease_s=600)).ended == "done"
        await rig.poll(4)
        before = await sealed(rig)
        batches: list[Batch] = [batch_of(data) for _, data in before]
        assert {batch.clock for batch in batches} == {0}
        assert max(batch.t0_ms for batch in batches) < 10**8, "no time that looks like one"

        bench = Bench(tmp_path / "fleet.db", read_trust(rig.site.parent / "trust"))
        bench.take(*before, now_ms=UNIX_MS + rig.now_ms())
        assert bench.undated() == len(before)
        rig.clock.advance(600)
        rig.wall_ms = 0
        await keeper.look()
        await rig.poll(2)
        after = [each for each in await sealed(rig) if each not in before]
        bench.take(*after, now_ms=UNIX_MS + rig.now_ms())

        assert bench.undated() == 0
        events = bench.store.read(lambda connection: store.events(connection, 500))
        assert {each.time for each in events} == {"re-dated", "clock"}
        (mark,) = (each for each in events if each.kind == "clock.mark")
        assert (mark.time, mark.text) == ("clock", "the time is known")
        (done,) = (each for each in events if each.kind == "command.done")
        assert (done.time, done.within_ms) == ("re-dated", 61)
        assert abs(done.t_ms - done_ms) <= 1_000
        place = ("gw-darcy", SEGMENT)
        levels = bench.store.read(lambda connection: store.history(connection, place, "level_percent", 0, 100))
        assert 50 in [each.value for each in levels if each.time == "re-dated"]
        assert all(UNIX_MS < each.t_ms <= UNIX_MS + rig.now_ms() for each in levels)
        points = bench.store.registry().gateway("gw-darcy").points[SEGMENT]
        assert all(point.t_ms > UNIX_MS for point in points.values())
        bench.store.close()
