"""When a link counts as lost."""

from tests.guard.rig import junction_rig


async def test_a_lost_datagram_or_two_are_no_loss_of_the_link() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        for misses in (1, 2):
            rig.signals.fault("silent")
            for _ in range(misses):
                await rig.tick()
            rig.signals.fault("silent", on=False)
            await rig.run(1)
        assert await rig.log("link.lost") == []
        assert len(await rig.log("link.back")) == 1
        rig.signals.fault("silent")
        for _ in range(3):
            await rig.tick()
        assert len(await rig.log("link.lost")) == 1
