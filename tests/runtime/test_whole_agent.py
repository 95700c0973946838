"""The whole agent, a process on a real broker: from its birth to sealed results, and on when the broker dies."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from agent.model.observation import Quality
from agent.wire.messages import Event
from agent.wire.topics import STREAMS
from tests.fleet.broker import free_port, iotcore
from tests.runtime.fleet_end import FleetEnd
from tests.runtime.living import LivingAgent, living_agent
from tests.runtime.rig import METER, SEGMENT
from tests.waiting import wait_until

LEVEL = f"{SEGMENT}/level_percent"


async def test_from_birth_to_sealed_results_and_on_over_a_broker_that_dies(tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as brokers:
        await asyncio.to_thread(brokers.enter_context, iotcore(tmp_path, port))
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(living_agent(port, is_started=False))
            fleet = await stack.enter_async_context(FleetEnd(agent.people, port).running())
            await agent.start()
            await the_birth_has_everything(fleet)
            await the_state_arrives(fleet)
            await commands_come_back_as_sealed_results(fleet)
            await wait_until(lambda: bool(fleet.heartbeats))
            beat = fleet.heartbeats[-1]
            assert (beat.conn, beat.clock > 0, beat.modes[SEGMENT]) == (fleet.births[-1].conn, True, "supervised")
            assert beat.nonces.keys() == {"agent"}

            await asyncio.to_thread(brokers.close)
            agent.cabinet.fault("silent", unit=2)  # Happens while nobody hears it.
            await wait_until(lambda: not fleet.is_connected)
            async with asyncio.timeout(20):
                while not await agent.log("fleet.link-lost"):  # noqa: ASYNC110 - looks from outside
                    await asyncio.sleep(0.05)
            births = len(fleet.births)
            await asyncio.to_thread(brokers.enter_context, iotcore(tmp_path, port))
            await wait_until(lambda: len(fleet.births) > births, 60)
            await fleet.until_latest(f"{METER}/voltage_l1", lambda _, quality: quality is Quality.STALE)
            assert fleet.births[-1].conn > fleet.births[0].conn
            assert fleet.births[-1].counters[0].counter >= 1
            assert "link.lost" in {event.kind for event in events(fleet)}
            fleet.check_chains()
            agent.cabinet.fault("silent")  # Nothing changes any more.
            await everything_is_acknowledged(agent)


async def the_birth_has_everything(fleet: FleetEnd) -> None:
    await wait_until(lambda: bool(fleet.births))
    birth = fleet.births[0]
    assert (birth.gateway, birth.name, birth.clock > 0) == ("gw-darcy", "Place Darcy", True)
    assert birth.nonces.keys() == {"agent"}
    assert len(birth.nonces["agent"]) == 16
    assert birth.counters == []
    assert {head.stream for head in birth.heads} == set(STREAMS) - {"safety"}
    assert {floor.stream for floor in birth.floors} == set(STREAMS) - {"safety"}
    assert len(birth.equipment) == 29
    card = next(card for card in birth.equipment if card.id == SEGMENT)
    assert (card.executor, card.verbs) == ("agent", ["set-level", "release-level"])
    assert birth.software


async def the_state_arrives(fleet: FleetEnd) -> None:
    await fleet.until_latest(LEVEL, lambda value, quality: (value, quality) == (80, Quality.GOOD))
    await fleet.until_latest(f"{METER}/voltage_l1", lambda value, _: isinstance(value, float) and 200 < value < 260)
    assert "agent.start" in {event.kind for event in events(fleet)}


async def commands_come_back_as_sealed_results(fleet: FleetEnd) -> None:
    alice = fleet.people.alice
    for level_percent, lease_s, ended, rule in (
        (50, 600, "done", ""),
        (10, 600, "refused", "LR-01"),
        (50, 10**5, "refused", "LR-02"),
    ):
        args = {"level_percent": level_percent, "lease_s": lease_s}
        outcome, role = await fleet.command("agent", SEGMENT, "set-level", args, alice)
        assert (outcome.ended, outcome.rule, outcome.issuer, role) == (ended, rule, "alice/1", "agent")
    await fleet.until_latest(LEVEL, lambda value, _: value == 50)
    outcome, _ = await fleet.command("agent", SEGMENT, "release-level", None, alice)
    assert outcome.ended == "done"
    await fleet.until_latest(LEVEL, lambda value, _: value == 80)
    expected = ["command.done", "command.refused", "command.refused", "command.done"]
    await wait_until(lambda: [each.kind for each in events(fleet) if each.kind.startswith("command.")] == expected)


async def everything_is_acknowledged(agent: LivingAgent) -> None:
    """Until the gateway knows that the fleet holds all it has sealed."""
    async with asyncio.timeout(20):
        while (status := await agent.status()).acked != status.heads:  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.05)


def events(fleet: FleetEnd) -> list[Event]:
    """Every event stored, in order."""
    return [event for batch in fleet.batches for event in batch.events]
