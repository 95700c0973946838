"""The fleet process dies at any moment: what gateways produced is stored once each, in order, and nothing else."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from agent.wire.demotrust import make_demo_trust
from agent.wire.roots import read_roots
from agent.wire.trust import load_key_list
from fleet import schema
from fleet.store import Store
from tests.fleet import broker
from tests.fleet.conftest import GATEWAYS, standin, trust_folder
from tests.fleet.process import Process
from tests.fleet.standin import LiveGateway, StandIn

__all__ = ["make_demo_trust", "standin", "trust_folder"]

BATCHES = 150
STREAMS = ("state", "tele", "alarm", "safety")
KILLS = 4


async def produce(gateway: LiveGateway, rng: random.Random) -> None:
    async with gateway.connected():
        for n in range(BATCHES):
            stream = rng.choice(STREAMS)
            values = {f"segment-1/p{rng.randrange(20)}": n for _ in range(rng.randint(1, 20))}
            gateway.tell(gateway.voice.samples(dict(values), stream))
            await asyncio.sleep(0.02 * rng.random())
        await gateway.wait_acknowledged(60)


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_mid_ingest_the_store_equals_what_was_produced(
    tmp_path: Path, trust_folder: Path, standin: Callable[..., StandIn], seed: int
) -> None:
    rng = random.Random(seed)
    ring = load_key_list(
        (trust_folder / "keys.sealed").read_bytes(), read_roots((trust_folder / "roots.toml").read_text())
    )
    with broker.iotcore(tmp_path) as port:
        fleet = await asyncio.to_thread(Process, tmp_path, trust_folder, port)
        gateways = [LiveGateway(standin(name), ring, port) for name in GATEWAYS]
        try:
            async with asyncio.TaskGroup() as tasks:
                for gateway in gateways:
                    tasks.create_task(produce(gateway, random.Random(rng.random())))
                for _ in range(KILLS):
                    await asyncio.sleep(0.3 + 0.5 * rng.random())
                    await asyncio.to_thread(fleet.kill)
                    fleet = await asyncio.to_thread(Process, tmp_path, trust_folder, port)
        finally:
            fleet.kill()

    store = Store(tmp_path / "fleet.db")
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        numbers = {row.id: row.no for row in connection.execute(select(schema.gateways))}
        for gateway in gateways:
            for stream, links in gateway.voice.links.items():
                table = schema.links.c
                stored = connection.execute(
                    select(table.seq, table.hash, table.envelope)
                    .where(table.gateway_no == numbers[gateway.voice.id], table.stream == stream)
                    .order_by(table.no)
                ).all()
                assert [tuple(row) for row in stored] == [(link.seq, link.hash, link.sealed) for link in links]
        samples = connection.execute(select(func.count()).select_from(schema.samples)).scalar()
        told = connection.execute(select(func.count()).select_from(schema.links)).scalar()
    store.close()
    assert told == BATCHES * len(GATEWAYS)
    assert samples is not None
    assert samples >= told
