"""How long nothing is acknowledged after a broker, the leading manager, or both were killed."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from benchmarks.bench import Run
from benchmarks.child import BenchError
from benchmarks.rooms import EVERY_S, OWN_STORES, SHARED_STORE, Cabinet, Rooms, cabinet, rooms, until
from benchmarks.table import Table

GATEWAYS = [f"gw-{n}" for n in range(10)]
BROKER, LEADER, BOTH = "broker", "leading manager", "broker and leading manager"
SETTLED_S = 3.0
DONE_S = 60.0
METHOD = (
    f"Two managers and two mosquittos as processes, and {len(GATEWAYS)} cabinets (the agent's journal, courier and command gate) "
    f"that each seal a record every {EVERY_S} s. SIGKILL; the figure is the time until of every cabinet a record sealed after the "
    "kill is acknowledged by a signed ack, so it includes the lease's end (1.5 s after its last renewal, 1.66 s by another's clock), "
    "the new manager's reading of the store, the state it publishes, and for a broker the cabinets' own jittered pause "
    "(up to 1 s, as after a session of over a minute). All cabinets are on one broker before it "
    "is killed. After each round what was killed is started again and all is quiet for some seconds. At the end the records "
    "of every cabinet are compared with the store of the manager that leads."
)


def measure(run: Run) -> Table:
    """Both arrangements, three ways to fail."""
    table = Table("Switch between control room and failover room", METHOD)
    rounds = run.count(10, 1)
    for number, arrangement in enumerate((SHARED_STORE, OWN_STORES)):
        before = 3 * rounds * number

        def advance(what: str, done: int, before: int = before) -> None:
            run.advance(what, before + done, 6 * rounds)

        with rooms(run.new_folder("f"), arrangement, GATEWAYS) as both:
            taken, remark = asyncio.run(_rounds(both, rounds, advance))
        for what, values in taken.items():
            table.add(f"{arrangement}: {what} killed → acknowledged again", "s", values, "≤ 3")
        table.remarks.append(f"{arrangement}: {remark}")
    return table


async def _rounds(both: Rooms, rounds: int, advance: Callable[[str, int], None]) -> tuple[dict[str, list[float]], str]:
    taken: dict[str, list[float]] = {BROKER: [], LEADER: [], BOTH: []}
    async with AsyncExitStack() as stack:
        cabinets = [await stack.enter_async_context(cabinet(name, both)) for name in GATEWAYS]
        await until(lambda: all(each.acked for each in cabinets))
        for round_ in range(rounds):
            for place, what in enumerate(taken):
                advance(f"{what} killed", 3 * round_ + place)
                taken[what].append(await _kill(both, cabinets, what))
        for each in cabinets:
            each.is_producing = False
        await asyncio.sleep(2 * EVERY_S)
        await until(lambda: all(each.acked == each.sealed[-1][0] for each in cabinets), DONE_S)
        leader = await asyncio.to_thread(both.leader)
        missing, double = both.compared(leader, cabinets)
    return taken, f"{sum(len(each.sealed) for each in cabinets)} records, {missing} lost, {double} stored twice"


async def _kill(both: Rooms, cabinets: list[Cabinet], what: str) -> float:
    leader = await asyncio.to_thread(both.leader)
    at = both.ports.index(int(cabinets[0].courier.figures.broker.rpartition(":")[2]))
    began_s = time.monotonic()
    if what != LEADER:
        both.brokers[at].stop(signal.SIGKILL)
    if what != BROKER:
        leader.signal(signal.SIGKILL)
    await asyncio.sleep(EVERY_S)

    def marks() -> list[int]:
        return [min((seq for seq, sealed_s in each.sealed if sealed_s > began_s), default=2**62) for each in cabinets]

    try:
        await until(lambda: all(each.acked >= mark for each, mark in zip(cabinets, marks(), strict=True)), DONE_S)
    except TimeoutError as error:
        raise BenchError(f"{what} killed: not every cabinet was acknowledged within {DONE_S} s") from error
    took_s = time.monotonic() - began_s
    if what != LEADER:
        both.brokers[at] = await asyncio.to_thread(both.broker, at)
    if what != BROKER:
        both.managers[leader.name] = await asyncio.to_thread(both.manager, leader.name)
    await asyncio.sleep(SETTLED_S)
    names = {each.courier.figures.broker for each in cabinets}
    if len(names) > 1:  # Some had walked on twice.
        raise BenchError(f"the cabinets are on {len(names)} brokers")
    return took_s
