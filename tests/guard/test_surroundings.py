"""What surrounds the equipment: somebody with the key at the cabinet, everything under guard in local mode; and the fleet."""

from pathlib import Path

from agent.model.identity import EquipmentId
from agent.safety.latch import Latch
from agent.wire.demotrust import sign_demo_site
from tests.guard.rig import UNIX_MS, bollard_rig, junction_rig

J = "j-republique"
PLAN_2 = {"plan": 2, "lease_s": 300}


async def test_sr_29_while_the_local_key_is_turned_only_a_technician_takes_hold_of_the_junction() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.hear_fleet()
        assert (await rig.ask(rig.people.alice, J, "select-plan", PLAN_2)).ended == "done"
        rig.cabinet.set(local_key=True)
        await rig.run(25)
        view = await rig.view(J)
        assert (view.mode, view.mode_cause) == ("local", "the local key is turned at the cabinet")
        assert view.cleared_by == "turning the key back"
        assert "SR-29" in (await rig.log("lease.end"))[0].text  # The operator's lease was not refreshed.
        assert rig.patterns == [2, 0]
        outcome = await rig.ask(rig.people.alice, J, "select-plan", PLAN_2)
        assert (outcome.ended, outcome.rule) == ("refused", "SR-29")
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        assert (await rig.ask(rig.people.alice, J, "release")).ended == "done"  # The safe direction stays open.
        rig.cabinet.set(local_key=False)
        await rig.run(1)
        assert (await rig.view(J)).mode == "supervised"


async def test_sr_29_a_turned_key_stays_turned_until_it_is_read_as_turned_back() -> None:
    async with junction_rig() as rig:
        await rig.hear_fleet()
        rig.cabinet.set(local_key=True)
        await rig.run(1)
        rig.cabinet.fault("exception")  # Whoever works there unplugs the input module.
        await rig.rest(60)
        view = await rig.view(J)
        cause = "the local key was turned at the cabinet when it could last be read"
        assert (view.mode, view.mode_cause, view.cleared_by) == ("local", cause, "turning the key back")
        assert (await rig.ask(rig.people.alice, J, "select-plan", PLAN_2)).rule == "SR-29"
        rig.cabinet.fault("exception", on=False)
        await rig.run(1)
        assert (await rig.view(J)).mode_cause == "the local key is turned at the cabinet"
        rig.cabinet.set(local_key=False)
        await rig.run(1)
        assert (await rig.view(J)).mode == "supervised"


async def test_sr_29_a_key_that_was_never_read_as_turned_counts_as_not_turned() -> None:
    async with junction_rig() as rig:
        rig.cabinet.set(local_key=True)
        rig.cabinet.fault("exception")
        await rig.run(5)
        assert (await rig.view(J)).mode == "supervised"


def with_tag_switch(site: Path) -> None:
    """Let the site's guard read the tag-out switch, and sign the site anew."""
    text = site.read_text()
    site.write_text(text.replace('local_key = "key_local"', 'local_key = "key_local"\ntag_out = "tag_out"', 1))
    sign_demo_site(site.parent / "trust", site, UNIX_MS)


async def test_sr_29_a_tagged_out_cabinet_is_left_to_technicians_until_the_lock_is_taken_out_over_restarts_too() -> (
    None
):
    async with junction_rig(before=with_tag_switch) as rig:
        await rig.hear_fleet()
        await rig.run(1)
        assert (await rig.view(J)).mode == "supervised"
        assert (await rig.ask(rig.people.alice, J, "select-plan", PLAN_2)).ended == "done"
        rig.cabinet.set(tag_out=True)
        await rig.run(25)
        assert rig.patterns == [2, 0]  # The operator's lease was not refreshed.
        outcome = await rig.ask(rig.people.alice, J, "select-plan", PLAN_2)
        assert (outcome.ended, outcome.rule) == ("refused", "SR-29")
        await rig.vanish()
        async with rig.guarding():
            assert (await rig.view(J)).mode == "local"  # Before anything was read.
            await rig.hear_fleet()
            await rig.run(1)
            view = await rig.view(J)
            assert (view.mode, view.cleared_by) == ("local", "taking the lock out of the tag-out switch")
            rig.cabinet.set(tag_out=False)
            await rig.run(1)
            assert (await rig.view(J)).mode == "supervised"
            assert [entry.kind for entry in await rig.log("tag.out", "tag.in")] == ["tag.out", "tag.out", "tag.in"]


async def test_sr_29_a_tag_out_switch_that_falls_silent_counts_as_locked() -> None:
    async with junction_rig(before=with_tag_switch) as rig:
        assert (await rig.view(J)).mode == "local"
        await rig.run(1)
        assert (await rig.view(J)).mode == "supervised"
        rig.cabinet.fault("exception")
        await rig.run(2)
        assert (await rig.view(J)).mode == "supervised"
        await rig.run(3)
        assert (await rig.view(J)).mode == "local"


async def test_sr_29_a_latched_fault_does_not_hide_that_somebody_works_there() -> None:
    async with bollard_rig() as rig:
        name = "bollard-rameau"
        await rig.run(3)
        rig[name].records.hold(Latch(EquipmentId(name), "SR-24", "a green lamp", UNIX_MS, flash_requested=False))
        assert (await rig.ask(rig.people.alice, name, "lower")).rule == ""
        rig.guard.surroundings.expect_tag()
        assert (await rig.view(name)).mode == "held"
        assert (await rig.ask(rig.people.alice, name, "lower")).rule == "SR-29"


async def test_a_fleet_that_was_never_heard_is_awaited_then_silent_and_up_only_once_it_is_heard() -> None:
    async with junction_rig() as rig:
        assert (await rig.status()).fleet == "awaited"
        await rig.rest(125)
        assert (await rig.status()).fleet == "silent"
        await rig.hear_fleet()
        assert (await rig.status()).fleet == "up"
