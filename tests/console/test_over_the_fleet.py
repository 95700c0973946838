"""The console over the real manager: its API, store, ingest and stream; only broker and cabinet are stood in for."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from agent.model.identity import CityId, GatewayId
from agent.wire import envelope, topics
from agent.wire.demotrust import make_demo_trust
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import Batch, Birth, CommandMessage, EquipmentCard, Event, Outcome, decode, encode
from fleet.api import make_app
from fleet.arrival import Arrival
from fleet.control_room import ControlRoom
from fleet.folder import read_trust
from fleet.origin import Origins
from tests.console.canned import serving
from tests.console.conftest import Console, watched

pytestmark = [pytest.mark.hil, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("over the fleet")]

CITY = CityId("dijon")
GATEWAY = GatewayId("gw-darcy")
BOLLARD = "tr[data-key='gw-darcy/bollard-1']"
CARDS = [
    EquipmentCard(
        "darcy", "junction", "Place Darcy", 47.3233, 5.0331, "guard", ["select-plan", "flash", "release"], ""
    ),
    EquipmentCard("bollard-1", "bollard", "Rue de la Liberté", 47.3229, 5.0345, "guard", ["lower", "raise"], ""),
    EquipmentCard("segment-1", "segment", "Rue Devosges", 47.3252, 5.0335, "agent", ["set-level", "release-level"], ""),
    EquipmentCard("lamp-1", "lamp", "Rue Devosges 1", 47.3253, 5.0345, "", [], "segment-1"),
]
POINTS = {
    "darcy/aspects": "GRRYGRR-", "darcy/groups": "1 2 3 4 5 6 7 8", "darcy/flash": "not-flash", "darcy/pattern": 2,
    "bollard-1/state": "down", "bollard-1/loop_a": True, "segment-1/contactor_on": True, "segment-1/level_percent": 60,
}  # fmt: skip


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class Cabinet:
    """Signs what a gateway would say, and refuses what it is asked by SR-19."""

    def __init__(self, room: ControlRoom, keys: Path) -> None:
        self.room = room
        self.agent = read_signer(keys / "agent.pem")
        self.guard = read_signer(keys / "guard.pem")
        self.head = bytes(32)
        self.seq = 0

    def say(self, message_class: str, signer: Signer, payload: bytes) -> bytes:
        topic = topics.up(CITY, GATEWAY, message_class)
        sealed = signer.seal(payload, topic)
        self.room.writer.arrived(Arrival(str(topic), sealed))
        return sealed

    def is_born(self) -> None:
        nonces = {"agent": bytes(16), "guard": bytes(16)}
        birth = Birth(
            gateway=GATEWAY, conn=1, name="Place Darcy", t_ms=unix_ms(), clock=2, nonces=nonces, counters=[],
            heads=[], equipment=CARDS, software="armoire 0.1.0",
        )  # fmt: skip
        self.say("birth", self.agent, encode(birth))

    def tells(self, values: dict[str, object], events: tuple[Event, ...] = ()) -> None:
        self.seq += 1
        batch = Batch(
            schema=1, gateway=GATEWAY, stream="state", epoch=1, seq=self.seq, prev=self.head, t0_ms=unix_ms(),
            mono_ms=1, clock=2, names=list(values), points=list(range(len(values))), dt_ms=[0] * len(values),
            quality=[], values=list(values.values()), events=list(events),
        )  # fmt: skip
        self.head = envelope.digest(self.say("state", self.agent, encode(batch)))

    async def send_command(self, gateway: str, sealed: bytes, expiry_s: int) -> None:
        assert gateway == GATEWAY
        assert expiry_s > 0
        command = decode(envelope.parse(envelope.split_set(sealed)[0]).payload, CommandMessage)
        outcome = Outcome(
            schema=1, command_id=command.command_id, gateway=GATEWAY, equipment=command.equipment, verb=command.verb,
            issuer="alice/1", ended="refused", rule="SR-19", reason="loop A is occupied",
            state="The bollard stays down.", t_ms=unix_ms(),
        )  # fmt: skip
        self.say("result", self.guard, encode(outcome))


@pytest_asyncio.fixture(loop_scope="module")
async def cabinet(tmp_path: Path) -> AsyncIterator[Cabinet]:
    make_demo_trust(tmp_path / "trust", CITY, [GATEWAY], now_ms=unix_ms())
    trust = read_trust(tmp_path / "trust")
    room = ControlRoom("centre", tmp_path, tmp_path / "trust", trust)
    stand_in = Cabinet(room, tmp_path / "trust" / "gateways" / GATEWAY)
    room.commands.courier = stand_in
    room.links[0].is_connected = True
    running = asyncio.create_task(room.run())
    yield stand_in
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest_asyncio.fixture(loop_scope="module")
async def console(browser: Browser, cabinet: Cabinet) -> AsyncIterator[Console]:
    app = make_app(cabinet.room, Origins())
    async with serving(app, cabinet.room.broadcast.end) as address, watched(browser, address) as watching:
        yield watching


async def opened(console: Console, cabinet: Cabinet) -> Page:
    cabinet.is_born()
    cabinet.tells(POINTS)
    page = await console.open()
    await expect(page.locator(BOLLARD).locator(".c-state")).to_have_text("down, loop A occupied")
    return page


async def test_what_a_cabinet_signs_appears_and_stays_live(console: Console, cabinet: Cabinet) -> None:
    page = await opened(console, cabinet)
    await expect(page.locator("#connection")).to_have_text("● live")
    await expect(page.locator("#figures")).to_contain_text("1 gateway up")
    await expect(page.locator("tr[data-key='gw-darcy/darcy'] .c-state")).to_have_text("green 1 5, yellow 4, plan 2")
    await expect(page.locator("tr[data-key='gw-darcy/lamp-1'] .c-state")).to_have_text("segment 60 %")
    event = Event(0, "trip", "darcy", "SR-02", "groups 1 and 3 conflict", {})
    cabinet.tells({"bollard-1/state": "rising", "bollard-1/loop_a": False}, (event,))
    await expect(page.locator(BOLLARD).locator(".c-state")).to_have_text("rising")
    await expect(page.locator("#events")).to_contain_text("groups 1 and 3 conflict")


async def test_a_page_opened_before_any_gateway_follows_its_birth(console: Console, cabinet: Cabinet) -> None:
    page = await console.new_page()
    await page.goto(f"{console.address}/")
    await expect(page.locator("#connection")).to_have_text("● live")
    await expect(page.locator("#count")).to_have_text("0 of 0")
    cabinet.is_born()
    cabinet.tells(POINTS)
    await expect(page.locator(BOLLARD).locator(".c-state")).to_have_text("down, loop A occupied")


async def test_a_cabinets_refusal_reaches_the_operator_with_its_rule(console: Console, cabinet: Cabinet) -> None:
    page = await opened(console, cabinet)
    await page.select_option("#operator", "alice")
    await page.locator(BOLLARD).click()
    await page.get_by_role("button", name="Raise").click()
    await page.get_by_role("button", name="Yes, raise").click()
    await expect(page.locator(".outcome")).to_contain_text(
        "refused by SR-19: loop A is occupied. The bollard stays down."
    )


async def test_flash_is_sent_when_a_second_operator_approves(console: Console, cabinet: Cabinet) -> None:
    page = await opened(console, cabinet)
    await page.select_option("#operator", "alice")
    await page.locator("tr[data-key='gw-darcy/darcy']").click()
    await page.get_by_role("button", name="Yellow flash").click()
    await page.get_by_role("button", name="Yes, yellow flash").click()
    await expect(page.locator(".outcome")).to_contain_text("A different operator than alice must approve")
    await page.select_option("#operator", "bruno")
    await page.locator(".outcome").get_by_role("button", name="Approve as bruno").click()
    await expect(page.locator(".outcome")).to_contain_text("refused by SR-19")
    await page.keyboard.press("Escape")
    await expect(page.locator("#commands")).to_contain_text("by alice + bruno")


async def test_a_dry_run_and_a_history_come_from_the_manager(console: Console, cabinet: Cabinet) -> None:
    page = await opened(console, cabinet)
    await page.select_option("#operator", "alice")
    await page.locator("tr[data-key='gw-darcy/segment-1']").click()
    await page.get_by_label("dry run").check()
    await page.get_by_role("button", name="Set level").click()
    await expect(page.locator(".outcome")).to_contain_text("Nothing was sent.")
    await expect(page.locator("canvas.chart")).to_have_attribute(
        "aria-label", "level_percent: 15 min: lowest 60 %, highest 60 %, last 60 %."
    )


async def test_a_command_to_a_gateway_that_is_away_is_refused_at_once(console: Console, cabinet: Cabinet) -> None:
    console.excuse("Failed to load resource")
    page = await opened(console, cabinet)
    cabinet.room.registry.died(GATEWAY)
    await expect(page.locator(BOLLARD)).to_have_class("row stale")
    await page.select_option("#operator", "alice")
    await page.locator(BOLLARD).click()
    await page.get_by_role("button", name="Lower").click()
    await expect(page.locator(".outcome")).to_contain_text("not sent: ")
    await expect(page.locator(".outcome")).to_contain_text("not connected")
