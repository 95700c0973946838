"""What the rules forbid is refused with the rule's name: in the technician's CLI, in the API, on the page, on the raw wire."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from agent.model.identity import CityId, GatewayId
from agent.runtime.mqtt import Broker, Transport, broker_of
from agent.wire import envelope
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import SCHEMA, CommandMessage, encode
from agent.wire.topics import down
from tests.district.rig import District, wait_until

pytestmark = pytest.mark.xdist_group("refusals")  # One district, not one for each worker.
REFUSED_EXIT = 3
CITY, JUNCTION_GATEWAY = CityId("dijon"), GatewayId("gw-republique")


@pytest.fixture(scope="module")
def district() -> Iterator[District]:
    with District() as district:
        wait_until("night falls", lambda: district.equipment("seg-darcy-1")["points"]["dark"]["value"])
        district.hardware("bollards", "set", "--unit", "1", "loop_a=true")
        loop_seen = lambda: district.equipment("bollard-rameau")["points"]["loop_a"]["value"]  # noqa: E731
        wait_until("the occupied loop is seen", loop_seen)
        for gateway, equipment, verb, args, *_ in CASES:
            asked = {"gateway": gateway, "equipment": equipment, "verb": verb, "args": args, "operator": "alice"}
            rehearsed = lambda asked=asked: "status" in district.post("/api/commands", asked | {"dry_run": True})  # noqa: E731
            wait_until(f"{gateway} can be commanded", rehearsed)
        yield district


CASES = [
    ("gw-liberation", "bollard-rameau", "raise", {}, "SR-19", "loop A is occupied"),
    ("gw-darcy", "seg-darcy-1", "set-level", {"level_percent": 5, "lease_s": 600}, "LR-01", "below the floor of 30 %"),
    ("gw-republique", "j-republique", "select-plan", {"plan": 3, "lease_s": 600}, "SR-27", "not commissioned"),
    ("gw-republique", "j-republique", "set-green", {"group": 4}, "SR-01", "no such verb"),
]
NAMES = [case[4] for case in CASES]


@pytest.mark.parametrize(("gateway", "equipment", "verb", "args", "rule", "reason"), CASES, ids=NAMES)
def test_the_api_names_the_rule(
    district: District, gateway: str, equipment: str, verb: str, args: dict[str, int], rule: str, reason: str
) -> None:
    answer = district.command(gateway, equipment, verb, **args)
    assert (answer.get("status"), answer.get("rule")) == ("refused", rule), answer
    assert reason in answer["reason"]
    assert "nothing was sent to the equipment" in answer["state"]
    event = lambda: [  # noqa: E731
        each
        for each in district.get(f"/api/events?gateway={gateway}&equipment={equipment}&limit=50")
        if each["kind"] == "command.refused" and each["rule"] == rule
    ]
    wait_until("the sealed record of the refusal has arrived", event)


def test_a_desired_state_is_kept_to_and_what_the_kernel_refuses_of_it_is_told(district: District) -> None:
    wanted = {"seg-darcy-1": {"night_level_percent": 5}, "seg-darcy-2": {"night_level_percent": 55}}
    asked = district.post("/api/desired/gw-darcy", {"operator": "alice", "settings": wanted})
    assert asked["generation"] == 1, asked
    wait_until("the gateway keeps to it", lambda: district.get("/api/desired/gw-darcy")["is_reached"])
    lit = lambda: district.equipment("seg-darcy-2")["points"]["level_percent"]["value"] == 55  # noqa: E731
    wait_until("the local plan is the desired one", lit)
    lines = {each["equipment"]: each for each in district.get("/api/desired/gw-darcy")["settings"]}
    assert (lines["seg-darcy-1"]["status"], lines["seg-darcy-1"]["rule"]) == ("refused", "LR-01")
    assert (lines["seg-darcy-2"]["status"], lines["seg-darcy-2"]["value"]) == ("applied", 55)
    moved = district.command("gw-darcy", "seg-darcy-2", "set-level", level_percent=60, lease_s=600)
    assert moved["status"] == "done", moved


def test_a_command_whose_issuer_saw_something_else_is_refused(district: District) -> None:
    command = {"gateway": "gw-darcy", "equipment": "seg-darcy-1", "verb": "release-level", "operator": "alice"}
    answer = district.post("/api/commands", command | {"expect": {"point": "level_percent", "value": 3}})
    assert (answer["status"], answer["rule"]) == ("refused", "SR-25"), answer
    assert "seg-darcy-1/level_percent was expected to be 3, it is " in answer["reason"]


WORDS = {
    "SR-19": ("bollard", "raise", "bollard-rameau"),
    "LR-01": ("lamp", "set", "seg-darcy-1", "5"),
    "SR-27": ("junction", "plan", "j-republique", "3"),
    "SR-01": ("submit", "j-republique", "set-green", "group=4"),
}


@pytest.mark.parametrize(("gateway", "equipment", "verb", "args", "rule", "reason"), CASES, ids=NAMES)
def test_the_technician_reads_the_rule(
    district: District, gateway: str, equipment: str, verb: str, args: dict[str, int], rule: str, reason: str
) -> None:
    told = district.armoire(gateway, *WORDS[rule])
    assert told.returncode == REFUSED_EXIT, told
    assert told.stdout.startswith(f"refused by {rule}: ")
    assert reason in told.stdout
    assert not told.stderr
    document = json.loads(district.armoire(gateway, *WORDS[rule], "--json").stdout)
    assert rule in json.dumps(document)
    dry = district.armoire(gateway, *WORDS[rule], "--dry-run")
    assert dry.returncode == REFUSED_EXIT
    assert rule in dry.stdout
    why = district.armoire(gateway, "why", equipment)
    assert rule in why.stdout


@pytest.fixture(scope="module")
def page(district: District, require_program: Callable[[str], Path]) -> Iterator[Page]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(require_program("chromium")), args=flags)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(20_000)
        page.goto(district.url)
        page.get_by_text("3 gateways up").wait_for()
        yield page
        browser.close()


@pytest.mark.parametrize(("gateway", "equipment", "verb", "args", "rule", "reason"), CASES, ids=NAMES)
def test_the_page_shows_the_rule(
    district: District,
    page: Page,
    gateway: str,
    equipment: str,
    verb: str,
    args: dict[str, int],
    rule: str,
    reason: str,
) -> None:
    answer = district.command(gateway, equipment, verb, **args)
    assert answer.get("status") == "refused", answer
    page.get_by_text(f"refused by {rule}").first.wait_for()
    assert page.get_by_text(reason).count() > 0


def raw_command(district: District, signer: Signer, verb: str, **changes: object) -> bytes:
    """A command signed with a real key, with whatever the caller wants changed."""
    nonce, counter = nonce_and_counter(district, signer.kid.decode())
    fields: dict[str, object] = {
        "schema": SCHEMA,
        "command_id": f"raw-{os.urandom(6).hex()}",
        "issuer": signer.kid.decode(),
        "gateway": JUNCTION_GATEWAY,
        "equipment": "j-republique",
        "verb": verb,
        "args": {},
        "nonce": nonce,
        "counter": counter + 1,
        "issued_ms": 0,
        "not_after_ms": time.time_ns() // 1_000_000 + 20_000,
        "expect_point": None,
        "expect_value": None,
    }
    message = CommandMessage(**(fields | changes))  # type: ignore[arg-type]
    return envelope.join_set([signer.seal(encode(message), down(CITY, JUNCTION_GATEWAY, "cmd"))])


def nonce_and_counter(district: District, kid: str) -> tuple[bytes, int]:
    from agent.cli.link import Link
    from agent.wire.local import GetStatus, Status

    status = Link("guard", district.home / JUNCTION_GATEWAY / "state" / "guard.sock").ask(GetStatus())
    assert isinstance(status, Status)
    return status.nonce, status.counters.get(kid, 0)


@lru_cache(1)
def broker_at(district: District) -> Broker:
    """Where the cabinets' messages go; asked once, because an answer costs the start of a process."""
    told = district.armoire(JUNCTION_GATEWAY, "status", "--json").stdout
    return broker_of(json.loads(told)["agent"]["figures"]["broker"])


def publish(district: District, topic: str, payload: bytes) -> None:
    """Put bytes on the broker as anybody on the network could."""
    broker = broker_at(district)

    async def send() -> None:
        async with Transport(broker, f"stranger-{os.urandom(4).hex()}") as transport:
            await transport.publish(topic, payload)

    with ThreadPoolExecutor(1) as thread:  # The browser's driver keeps a loop running in this one.
        thread.submit(asyncio.run, send()).result(30)


COMMAND_TOPIC = str(down(CITY, JUNCTION_GATEWAY, "cmd"))


@pytest.mark.parametrize("verb", ["set-green", "force-output", "dark", "write-table"])
def test_a_verb_that_does_not_exist_is_refused_on_the_raw_wire_even_with_a_valid_signature(
    district: District, verb: str
) -> None:
    alice = read_signer(district.home / "trust" / "operators" / "alice.pem")
    before = district.hardware("signals", "do", "sets")
    publish(district, COMMAND_TOPIC, raw_command(district, alice, verb))
    found = lambda: [  # noqa: E731
        each
        for each in district.get(f"/api/events?gateway={JUNCTION_GATEWAY}&limit=100")
        if each["rule"] == "SR-01" and f"'{verb}'" in each["text"]
    ]
    wait_until("the refusal is known at the fleet", found)
    assert district.hardware("signals", "do", "sets") == before, "something was written to the controller"


def test_what_nobody_known_has_signed_is_counted_and_gets_no_answer(district: District) -> None:
    stranger = Signer.from_seed("alice/1", bytes(32))  # Alice's name, another key.
    alice = read_signer(district.home / "trust" / "operators" / "alice.pem")
    good = raw_command(district, alice, "select-plan", args={"plan": 2, "lease_s": 60})
    rejected = lambda: json.loads(district.armoire(JUNCTION_GATEWAY, "status", "--json").stdout)["guard"]["figures"]  # noqa: E731
    before = district.hardware("signals", "do", "sets")
    for payload in (
        raw_command(district, stranger, "select-plan", args={"plan": 2, "lease_s": 60}),
        good[:-1],
        bytes(len(good)),
        os.urandom(3_000),
    ):
        publish(district, COMMAND_TOPIC, payload)
    wait_until("the forged signature is counted", lambda: rejected().get("rejected signature"))
    assert district.hardware("signals", "do", "sets") == before


def test_a_replayed_command_is_not_carried_out_twice(district: District) -> None:
    alice = read_signer(district.home / "trust" / "operators" / "alice.pem")
    sealed = raw_command(district, alice, "select-plan", args={"plan": 2, "lease_s": 600})
    publish(district, COMMAND_TOPIC, sealed)
    sets = lambda: json.loads(district.hardware("signals", "do", "sets"))["sets"]  # noqa: E731
    wait_until("the plan was selected", lambda: sets() and sets()[-1]["value"] == 2)
    count = len(sets())
    publish(district, COMMAND_TOPIC, sealed)
    figures = lambda: json.loads(district.armoire(JUNCTION_GATEWAY, "status", "--json").stdout)["guard"]["figures"]  # noqa: E731
    wait_until("the repetition is counted", lambda: figures().get("rejected repeated"))
    assert len(sets()) == count


def test_garbage_on_every_topic_stops_nothing(district: District) -> None:
    for gateway in ("gw-darcy", "gw-republique", "gw-liberation", "gw-nowhere"):
        for name in ("birth", "alarm", "state", "tele", "audit", "safety", "result", "death"):
            publish(district, f"armoire/1/dijon/{gateway}/up/{name}", os.urandom(200))
        for name in ("ack", "desired", "cmd", "keys", "roll"):
            publish(district, f"armoire/1/dijon/{gateway}/down/{name}", os.urandom(200))
    publish(district, "armoire/1/dijon/fleet/state", b"\x00")
    answer = district.command("gw-darcy", "seg-darcy-1", "set-level", level_percent=60, lease_s=60)
    assert answer["status"] == "done"
    assert all(each["link"] == "up" for each in district.get("/api/district")["gateways"])
    assert "Traceback" not in district.log()
