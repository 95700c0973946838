"""Four junctions in one cabinet, each with a controller and a conflict monitor of its own: what counts for all of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agent.wire.demotrust import sign_demo_site
from agent.wire.messages import Outcome
from simulators.cabinet import Cabinet
from simulators.clock import ManualClock
from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.guard.rig import FLASH, PATTERN_OID, START_S, UNIX_MS, Rig, furnish, home_folder
from tests.referee import Verdict, judged

NAMES = ("j-north", "j-east", "j-south", "j-west")
FLASH_ARGS = {"lease_s": 60}


class QuarterRig(Rig):
    """One guard at the four of them; somebody stands at the cabinet."""

    signals: dict[str, SignalCabinet]

    def flashes(self, name: str) -> int:
        """How often flash was SET there."""
        sets = self.signals[name].controller.control.sets
        return sum(entry.oid == PATTERN_OID and entry.value == FLASH for entry in sets)

    async def flash(self, name: str) -> Outcome:
        """A technician's request."""
        return await self.ask_at_once(self.people.technician, name, "flash", FLASH_ARGS)


def quarter(site: Path, ports: dict[str, int]) -> None:
    """Put the reference junction there several times over, and sign the file anew."""
    head, mark, junction = site.read_text().partition("[[junction]]")
    parts = [
        mark + junction.replace('"j-republique"', f'"{name}"').replace("127.0.0.1:16161", f"127.0.0.1:{port}")
        for name, port in ports.items()
    ]
    site.write_text("\n".join((head, *parts)))
    sign_demo_site(site.parent / "trust", site, UNIX_MS)


@asynccontextmanager
async def quarter_rig(west: Verdict = "clear") -> AsyncIterator[QuarterRig]:
    clock = ManualClock(START_S)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        signals = {}
        for name in NAMES:
            signals[name] = await stack.enter_async_context(SignalCabinet.serve(clock=clock, started=True))
            stack.enter_context(judged(signals[name], west if name == NAMES[3] else "clear"))
        cabinet = await stack.enter_async_context(Cabinet.serve(clock=clock))
        cabinet.set(door_open=True, local_key=True)
        site, people = furnish(home, "gw-republique", {"presence": cabinet.port})
        quarter(site, {name: each.port for name, each in signals.items()})
        rig = QuarterRig(site, people, clock)
        rig.signals = signals
        await stack.enter_async_context(rig.guarding())
        yield rig


async def test_sr_14_three_junctions_of_a_cabinet_may_be_flashed_in_ten_minutes_and_the_fourth_not() -> None:
    async with quarter_rig() as rig:
        await rig.run(1)
        assert [(await rig.flash(name)).ended for name in NAMES[:3]] == ["done"] * 3
        refused = await rig.flash(NAMES[3])
        assert (refused.ended, refused.rule) == ("refused", "SR-14")
        assert refused.reason.startswith("the cabinet had 3 commands of class R3 in 10 min, at most 3 are allowed")
        for name in NAMES[:3]:
            released = await rig.ask_at_once(rig.people.technician, name, "release")
            assert released.ended == "done", "letting go costs nothing"
        await rig.vanish()
        async with rig.guarding():
            await rig.run(1)
            assert (await rig.flash(NAMES[3])).rule == "SR-14", "nor does a new start make it forget"
            assert [rig.flashes(name) for name in NAMES] == [1, 1, 1, 0]


@pytest.mark.parametrize("asked", [2, 3])
async def test_sr_14_the_observers_own_request_counts_like_a_persons_and_is_never_refused(asked: int) -> None:
    async with quarter_rig("conflict") as rig:
        await rig.run(1)
        assert [(await rig.flash(name)).ended for name in NAMES[:asked]] == ["done"] * asked
        rig.signals[NAMES[3]].fault("stuck_green:4")
        await rig.run(0.4)
        assert rig.flashes(NAMES[3]) == 1
        refused = await rig.flash(NAMES[2])
        assert (refused.ended, refused.rule) == ("refused", "SR-14")
        assert sum(rig.flashes(name) for name in NAMES) == asked + 1
