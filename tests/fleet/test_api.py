"""The API's edges: errors in words, strangers kept out, live updates, console and schema."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.broadcast import MESSAGES_PER_BROWSER_MAX, Broadcast
from fleet.errors import FolderError
from fleet.origin import Origins
from fleet.registry import Registry
from fleet.server import check_address
from tests.fleet.conftest import Running, until
from tests.fleet.standin import EQUIPMENT, StandIn


async def messages(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Server-sent events as (name, value)."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


async def test_a_browser_hears_points_events_commands_and_gateways(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    heard: dict[str, Any] = {}
    async with manager.live(standin()).connected() as gateway, manager.http.stream("GET", "/api/stream") as response:
        await until(lambda: "gw-darcy" in manager.room.registry.gateways)
        gateway.tell(gateway.voice.samples({"segment-1/level_percent": 60}))
        gateway.tell(gateway.voice.event("fault", "segment-1", "", "lamp out", "alarm"))
        body = {"gateway": "gw-darcy", "equipment": "segment-1", "verb": "set-level", "operator": "alice"}
        await until(lambda: manager.room.registry.gateways["gw-darcy"].nonces)
        assert (await manager.http.post("/api/commands", json=body)).json()["status"] == "done"
        async with asyncio.timeout(10):
            async for name, value in messages(response):
                if name != "event" or value["kind"] == "fault":
                    heard[name] = value
                if {"points", "event", "command", "gateway"} <= heard.keys() and heard["command"]["status"] == "done":
                    break
    assert heard["points"]["points"]["level_percent"]["value"] == 60
    assert heard["event"]["text"] == "lamp out"
    assert heard["gateway"]["link"] == "up"


async def test_equipment_that_comes_or_goes_makes_browsers_fetch_again(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await until(lambda: "gw-darcy" in manager.room.registry.gateways)
        async with manager.http.stream("GET", "/api/stream") as response:
            gateway.voice.conn += 1
            await gateway.publish(gateway.voice.birth(EQUIPMENT[:1]))
            async with asyncio.timeout(10):
                async for name, _ in messages(response):
                    if name == "resync":
                        break
        answer = (await manager.http.get("/api/district")).json()
    assert [each["id"] for each in answer["equipment"]] == ["segment-1"]


async def test_a_browser_that_does_not_read_is_told_to_fetch_again_and_costs_nobody_else() -> None:
    broadcast, registry = Broadcast(), Registry()
    with broadcast.listening() as slow, broadcast.listening() as quick:
        for n in range(MESSAGES_PER_BROWSER_MAX + 5):
            broadcast.resync() if n % 2 else broadcast._put(("event", str(n)))
            if n >= MESSAGES_PER_BROWSER_MAX - 5:
                while not quick.empty():
                    quick.get_nowait()
        assert slow.get_nowait() == ("resync", "{}")
        assert slow.qsize() < 10
        broadcast.flush(registry, 0)
    assert len(broadcast) == 0


async def test_the_values_of_a_lost_gateway_are_stale_never_live(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected(beat_s=60) as gateway:
        gateway.tell(gateway.voice.samples({"segment-1/level_percent": 60, "segment-1/bad": 1}, quality=1))
        await gateway.wait_acknowledged()
        path = "/api/equipment/gw-darcy/segment-1"
        live = (await manager.http.get(path)).json()
        assert (live["link"], live["points"]["level_percent"]["quality"]) == ("up", 1)
        manager.room.registry.gateways["gw-darcy"].seen_ms -= 30_001
        stale = (await manager.http.get(path)).json()
        assert (stale["link"], stale["points"]["level_percent"]["quality"]) == ("lost", 2)
        assert stale["points"]["level_percent"]["value"] == 60
        async with asyncio.timeout(10):
            while "gateway.lost" not in [each["kind"] for each in (await manager.http.get("/api/events")).json()]:  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.05)


async def test_latched_equipment_is_held_before_its_heartbeat_says_so(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        gateway.tell(gateway.voice.event("latch.set", "junction-1", "SR-02", "greens 1 and 2 together", "safety"))
        await gateway.wait_acknowledged()
        shown = (await manager.http.get("/api/equipment/gw-darcy/junction-1")).json()
        assert (shown["mode"], shown["latch"]["rule"]) == ("held", "SR-02")
        assert (await manager.http.get("/api/gateways")).json()[0]["mode"] == "held"
        gateway.tell(gateway.voice.event("latch.reset", "junction-1", stream="safety"))
        await gateway.wait_acknowledged()
        assert (await manager.http.get("/api/equipment/gw-darcy/junction-1")).json()["latch"] is None


async def test_history_gives_the_newest_values_oldest_first(manager: Running, standin: Callable[..., StandIn]) -> None:
    async with manager.live(standin()).connected() as gateway:
        for n in range(20):
            gateway.tell(gateway.voice.samples({"segment-1/power_w": n, "segment-1/other": -n}, t_ms=1_000_000 + n))
        await gateway.wait_acknowledged()
        path = "/api/equipment/gw-darcy/segment-1/history"
        newest = (await manager.http.get(path, params={"point": "power_w", "limit": 3})).json()
        since = (await manager.http.get(path, params={"point": "power_w", "since_ms": 1_000_018})).json()
        none = (await manager.http.get(path, params={"point": "no-such"})).json()
    assert [each["value"] for each in newest] == [17, 18, 19]
    assert [each["t_ms"] for each in since] == [1_000_018, 1_000_019]
    assert none == []


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/equipment/gw-darcy/no-such", 404, "no equipment 'no-such' behind 'gw-darcy'"),
        ("/api/equipment/gw-darcy/x/history?point=a", 404, "no equipment"),
        ("/api/events?limit=0", 400, "limit"),
        ("/api/events?limit=all", 400, "limit"),
        ("/api/commands/none", 404, "no command 'none' was issued here"),
        ("/api/nothing", 404, "the API is described at /schema"),
        ("/../pyproject.toml", 404, "nothing at"),
        ("/leaflet/../../apps.py", 404, "nothing at"),
        ("/%00", 404, "nothing at"),
        ("/" + 300 * "a", 404, "nothing at"),
        ("/index.html/x", 404, "nothing at"),
    ],
)
async def test_an_error_says_in_words_what_happened(manager: Running, path: str, status: int, words: str) -> None:
    answer = await manager.http.get(path)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert "Traceback" not in answer.text


async def test_the_console_leaflet_schema_and_figures_are_served_with_a_strict_policy(manager: Running) -> None:
    page = await manager.http.get("/")
    assert "<!doctype html>" in page.text.lower()
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert (await manager.http.get("/leaflet/leaflet.js")).status_code == 200
    schema = (await manager.http.get("/schema")).json()
    assert schema["info"]["title"] == "Armoire fleet manager"
    assert "/api/district" in schema["paths"]
    assert "armoire_fleet_batches_total" in (await manager.http.get("/metrics")).text
    assert (await manager.http.get("/api/operators")).json() == ["alice", "bruno"]
    assert (await manager.http.get("/api/health")).json()["status"] == "ok"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
async def test_a_page_of_somebody_else_cannot_command(manager: Running, headers: dict[str, str]) -> None:
    body = b'{"gateway":"gw-darcy","equipment":"segment-1","verb":"set-level","operator":"alice"}'
    answer = await manager.http.post(
        "/api/commands", content=body, headers={"content-type": "application/json"} | headers
    )
    assert answer.status_code == 403


async def test_our_own_page_may_command(manager: Running) -> None:
    body = {"gateway": "gw-nowhere", "equipment": "x", "verb": "y", "operator": "alice"}
    headers = {"origin": manager.url, "sec-fetch-site": "same-origin"}
    assert (await manager.http.post("/api/commands", json=body, headers=headers)).status_code == 404


@given(host=st.text(max_size=40), origin=st.text(max_size=40) | st.text("[]:/@1.", max_size=9).map("http://{}".format))
def test_no_header_breaks_the_check_of_origins(host: str, origin: str) -> None:
    origins = Origins()
    headers = {"host": host, "origin": origin, "content-type": "application/json"}
    assert origins.problem("POST", headers)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_may_connect_only_when_that_was_said(host: str) -> None:
    with pytest.raises(FolderError, match="no login"):
        check_address(host, is_open=False)
    check_address(host, is_open=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_may_always_connect(host: str) -> None:
    check_address(host, is_open=False)


async def test_a_body_too_large_or_not_json_is_refused(manager: Running) -> None:
    headers = {"content-type": "application/json"}
    large = await manager.http.post("/api/commands", content=b"[" * 100_000, headers=headers)
    assert large.status_code == 413
    for content in (b"", b"{", b"\xff\xfe", b'{"verb":"\xff"}', b"[" * 5_000, b'{"verb":"\\ud800"}'):
        answer = await manager.http.post("/api/commands", content=content, headers=headers)
        assert answer.status_code == 400, content[:20]
        assert answer.json()["detail"]
