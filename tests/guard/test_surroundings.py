"""Somebody with the key at the cabinet: everything under guard there is in local mode."""

from tests.guard.rig import junction_rig

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


async def test_sr_29_one_lost_reading_of_the_key_does_not_end_local() -> None:
    async with junction_rig() as rig:
        rig.cabinet.set(local_key=True)
        await rig.run(1)
        rig.cabinet.fault("exception")
        await rig.run(1)
        assert (await rig.view(J)).mode == "local"
        await rig.run(3)
        assert (await rig.view(J)).mode == "supervised"  # It is not known any more.
