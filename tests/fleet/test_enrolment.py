"""A gateway joins, is believed, renews, is replaced and is turned down: command line, HTTP and files at both ends."""

import base64
import random
import shutil
import stat
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from agent.cli import credentials
from agent.cli.ending import Exit
from agent.runtime.errors import TransportError
from agent.runtime.mqtt import Transport, broker_of
from agent.runtime.tls import read_context
from agent.wire.errors import KeyListError
from agent.wire.keyfile import read_signer
from agent.wire.roots import read_roots
from agent.wire.trust import load_key_list
from fleet import authority, pki
from fleet.enrolment import Code, Enrolments
from fleet.pki import GATEWAY_DAYS
from tests.fleet.city import real_broker, request_for
from tests.fleet.conftest import CITY, Running
from tests.fleet.joining import City, city
from tests.fleet.standin import StandIn, unix_ms

__all__ = ["city"]
GATEWAY, REFUSED, UNREACHABLE = "gw-darcy", 3, 6


async def test_a_gateway_joins_with_keys_it_made_and_is_believed_once_the_officers_have_signed(city: City) -> None:
    code = await city.code()
    ended, text = await city.ask(code)
    assert ended == REFUSED
    assert "still waits" in text
    newest = await city.newest()
    assert newest["words"] in text  # The technician sees what the operator sees.
    assert not (city.state / "keys").exists()
    ended, text = await city.fleet(
        "enrolment", "approve", newest["id"], "--words", "a b c d e f", "--operator", "alice"
    )
    assert (ended, "not the words" in text) == (REFUSED, True)
    assert (await city.approve())[0] == 0
    ended, text = await city.ask(code)
    assert ended == 0, text
    assert "not signed the new keys yet" in text

    private = ["keys/agent.pem", "keys/guard.pem", "tls/gateway.key"]
    assert {stat.S_IMODE((city.state / name).stat().st_mode) for name in private} == {0o600}
    assert not (city.state / "enrolment").exists()
    assert {path.name for path in city.folder.glob("fleet/enrolment/**/*") if path.suffix in {".pem", ".key"}} == set()
    assert city.own_kids().isdisjoint(city.kids())
    told = await city.new_key_list()
    assert all(f"+ {kid}" in told for kid in city.own_kids())
    assert city.own_kids() <= city.kids()

    agent, guard = (read_signer(city.state / f"keys/{name}.pem") for name in ("agent", "guard"))
    async with city.manager.live(StandIn(CITY, GATEWAY, agent, guard)).connected() as gateway:  # type: ignore[arg-type]
        gateway.tell(gateway.voice.samples({"segment-1/n": 1}))
        await gateway.wait_acknowledged()


async def test_what_was_enrolled_opens_the_door_of_a_real_broker(
    city: City, require_program: Callable[[str], Path]
) -> None:
    await city.join()
    issuer = authority.read_issuer(city.ca)
    with real_broker(require_program("mosquitto"), city.folder / "room-a", issuer) as broker:
        async with Transport(broker_of(broker.url, partial(read_context, city.state / "tls")), GATEWAY) as transport:
            await transport.publish(f"armoire/1/{CITY}/{GATEWAY}/up/state", b"1")
            with pytest.raises(TransportError):
                await transport.publish(f"armoire/1/{CITY}/gw-monge/up/state", b"1")


async def test_only_the_code_of_this_gateway_is_taken_once_and_within_its_hour(city: City) -> None:
    first = await city.code()
    ended, text = await city.ask("a" * 26)
    assert (ended, "not the code" in text) == (REFUSED, True)
    second = await city.code()
    assert (await city.ask(first))[0] == REFUSED  # A newer code ends an older one.
    assert (await city.manager.http.get("/api/enrolment")).json() == []
    kept = city.folder / f"fleet/enrolment/codes/{GATEWAY}.json"
    code = msgspec.json.decode(kept.read_bytes(), type=Code)
    kept.write_bytes(msgspec.json.encode(msgspec.structs.replace(code, until_ms=unix_ms() - 1)))
    ended, text = await city.ask(second)
    assert (ended, "more than an hour old" in text) == (REFUSED, True)
    third = await city.code()
    await city.ask(third)
    shutil.rmtree(city.state / "enrolment")  # Another cabinet, or another try, with the same code.
    ended, text = await city.ask(third)
    assert (ended, "used for another request" in text) == (REFUSED, True)
    assert len((await city.manager.http.get("/api/enrolment")).json()) == 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in (city.folder / "fleet/enrolment").rglob("*.json")} == {0o600}


async def test_a_refused_gateway_gets_nothing(city: City) -> None:
    code = await city.code()
    await city.ask(code)
    newest = await city.newest()
    assert (await city.fleet("enrolment", "refuse", newest["id"], "--operator", "alice"))[0] == 0
    ended, text = await city.ask(code)
    assert (ended, "an operator has refused" in text) == (REFUSED, True)
    assert (await city.approve())[0] == REFUSED  # Decided is decided.
    assert not (city.state / "keys").exists()
    assert list((city.ca / "issued").iterdir()) == []


async def test_papers_that_do_not_come_from_who_gave_the_code_are_not_put_in_place(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await city.code()
    await city.ask(code)
    await city.approve()
    papers = Enrolments.papers

    def forged(self: Enrolments, request_id: str) -> tuple[bytes, str]:
        body, proof = papers(self, request_id)
        return body.replace(b"dijon", b"d1jon"), proof

    monkeypatch.setattr(Enrolments, "papers", forged)
    ended, text = await city.ask(code)
    assert (ended, "does not come from who gave you the code" in text) == (UNREACHABLE, True)
    assert not (city.state / "keys").exists()


async def test_a_replaced_gateway_loses_its_keys_and_its_certificate_and_never_gets_them_back(city: City) -> None:
    await city.join()
    await city.new_key_list()
    old, certificate = city.own_kids(), authority.read_certificates(city.state / "tls/gateway.pem")[0]
    (city.state / "keys/technician.pem").write_text("not ours")
    await city.join()
    new = city.own_kids()
    assert old.isdisjoint(new)
    assert (city.state / "keys/technician.pem").read_text() == "not ours"
    assert len(list(city.state.glob("keys.before-*"))) == 1  # Nothing is overwritten.
    issuer = authority.read_issuer(city.ca)
    assert issuer.revoked() == {certificate.serial_number}
    await city.new_key_list()
    assert new <= city.kids()
    assert city.kids().isdisjoint(old)
    taken = sorted(new)[0]
    await city.new_key_list("--remove", taken)
    await city.new_key_list()
    assert city.kids().isdisjoint({*old, taken})


async def test_a_certificate_is_renewed_when_it_is_time_and_even_when_it_is_over(city: City) -> None:
    await city.join()
    await city.new_key_list()
    ended, text = await city.gateway("renew")
    assert (ended, "not yet time" in text) == (0, True)
    before = authority.read_certificates(city.state / "tls/gateway.pem")[0]
    over = pki.gateway_certificate(
        request_for(GATEWAY, authority.read_key(city.state / "tls/gateway.key")),
        GATEWAY,
        authority.read_issuer(city.ca).authority,
        pki.utc_now() - timedelta(days=GATEWAY_DAYS + 30),
    )
    (city.state / "tls/gateway.pem").write_bytes(over.public_bytes(authority.PEM))
    ended, text = await city.gateway("renew")
    assert (ended, "renewed until" in text, "took key list 2" in text) == (0, True, True), text
    after = authority.read_certificates(city.state / "tls/gateway.pem")[0]
    assert after.public_key() != before.public_key()
    assert after.not_valid_after_utc > pki.utc_now() + timedelta(days=GATEWAY_DAYS - 1)
    roots = read_roots((city.state / "keys/roots.toml").read_text())
    assert load_key_list((city.state / "keys/keys.sealed").read_bytes(), roots).version == 2
    read_context(city.state / "tls")
    assert {path.name for path in city.state.iterdir()} == {"keys", "tls"}


async def test_a_gateway_whose_key_was_taken_out_of_the_list_is_not_renewed(city: City) -> None:
    await city.join()
    assert (await city.gateway("renew", "--now"))[0] == REFUSED  # Not in it yet.
    await city.new_key_list()
    for _ in range(4):
        assert (await city.gateway("renew", "--now"))[0] == 0
    assert (await city.gateway("renew", "--now"))[0] == UNREACHABLE  # Five certificates a day are enough.
    await city.new_key_list("--remove", *city.own_kids(["agent"]))
    before = (city.state / "tls/gateway.pem").read_bytes()
    ended, text = await city.gateway("renew", "--now")
    assert (ended, "not renewed" in text) == (REFUSED, True)
    assert (city.state / "tls/gateway.pem").read_bytes() == before


async def test_a_guard_with_a_folder_of_its_own_has_its_key_there_and_only_there(city: City) -> None:
    site = city.folder / "cabinet/site.toml"
    site.write_text(site.read_text().replace("[guard]\n", '[guard]\nstate = "guards"\n'))
    guards = city.folder / "cabinet/guards"
    guards.mkdir()
    await city.join()
    await city.new_key_list()
    assert {path.name for path in (city.state / "keys").iterdir()} == {"agent.pem", "roots.toml", "keys.sealed"}
    assert {path.name for path in (guards / "keys").iterdir()} == {"guard.pem", "roots.toml", "keys.sealed"}
    ended, text = await city.gateway("renew", "--now", "--json")
    assert (ended, msgspec.json.decode(text)["key_list"]) == (0, 2)
    assert (guards / "keys/keys.sealed").read_bytes() == (city.trust / "keys.sealed").read_bytes()


async def test_a_renewal_played_again_gets_what_it_got_and_uses_nothing_up(city: City) -> None:
    await city.join()
    await city.new_key_list()
    asked = credentials.prepare_renewal(city.state, CITY, GATEWAY, unix_ms())
    headers = {"Content-Type": "application/pkcs10"}
    answers = set()
    for _ in range(10):
        answer = await city.manager.http.post("/.well-known/est/simplereenroll", content=asked.request, headers=headers)
        assert answer.status_code == 200
        answers.add(answer.content)
    assert len(answers) == 1
    assert (await city.gateway("renew", "--now"))[0] == 0


async def test_a_gateway_that_was_replaced_is_not_renewed_even_before_the_officers_sign(city: City) -> None:
    await city.join()
    await city.new_key_list()
    shutil.copytree(city.state, city.folder / "stolen")
    await city.join()
    asked = credentials.prepare_renewal(city.folder / "stolen", CITY, GATEWAY, unix_ms())
    headers = {"Content-Type": "application/pkcs10"}
    answer = await city.manager.http.post("/.well-known/est/simplereenroll", content=asked.request, headers=headers)
    assert (answer.status_code, "was replaced" in answer.text) == (403, True)


async def test_an_older_key_list_is_never_taken_back(city: City) -> None:
    await city.join()
    older = (city.state / "keys/keys.sealed").read_bytes()
    await city.new_key_list()
    newer = (city.trust / "keys.sealed").read_bytes()
    assert credentials.take_key_list(city.state, newer) == 2
    assert credentials.take_key_list(city.state, newer) is None
    with pytest.raises(KeyListError, match="older"):
        credentials.take_key_list(city.state, older)


async def test_a_code_for_one_device_is_of_no_use_to_another(city: City) -> None:
    asked = {"gateway": GATEWAY, "operator": "alice", "serial": "SN-17"}
    code = (await city.manager.http.post("/api/enrolment/codes", json=asked)).json()["code"]
    words = ("enrol", "--fleet", city.manager.url, "--code", code, "--wait", "1s", "--serial")
    ended, text = await city.gateway(*words, "SN-18")
    assert (ended, "for the device SN-17, this one says 'SN-18'" in text) == (REFUSED, True), text
    shutil.rmtree(city.state / "enrolment")  # The number stands in the request: another device makes another.
    ended, text = await city.gateway(*words, "SN-17")
    assert (ended, "still waits" in text) == (REFUSED, True), text
    assert (await city.newest())["serial"] == "SN-17"
    ended, text = await city.fleet("enrolment", "list")
    assert (ended, "device SN-17" in text) == (0, True)


async def test_a_dry_run_makes_nothing_and_bad_input_is_told_in_words(city: City) -> None:
    site = ["--fleet", city.manager.url, "--code", "a" * 26]
    assert (await city.gateway("enrol", *site, "--dry-run"))[0] == 0
    assert list(city.state.iterdir()) == []
    for words in (
        ["--fleet", "nowhere", "--code", "a" * 26],
        ["--fleet", city.manager.url, "--code", "abc"],
        ["--fleet", city.manager.url, "--code", "a" * 26, "--wait", "x"],
    ):
        ended, text = await city.gateway("enrol", *words)
        assert (ended, "Traceback" in text) == (Exit.USAGE, False), text
    assert (await city.gateway("enrol", "--fleet", "http://127.0.0.1:1", "--code", "a" * 26))[0] == UNREACHABLE
    assert (await city.gateway("renew", "--now"))[0] == Exit.USAGE  # Never enrolled.


async def test_hostile_bodies_are_answered_and_leave_nothing(city: City) -> None:
    rng = random.Random(4)
    key = pki.new_key()
    bare = request_for(GATEWAY, key).public_bytes(serialization.Encoding.DER)
    headers = {"Content-Type": "application/pkcs10", "Armoire-Proof": "00" * 32}
    await city.code()
    bodies = [b"", b"\x30", bare, bare[:-1], rng.randbytes(500), b"A" * 40_000, base64.encodebytes(bare)]
    bodies += [request_for(name, key).public_bytes(serialization.Encoding.DER) for name in ("../x", "fleet", "gw-none")]
    for body in bodies:
        for path in ("simpleenroll", "simplereenroll"):
            answer = await city.manager.http.post(f"/.well-known/est/{path}", content=body, headers=headers)
            assert 400 <= answer.status_code < 500, (path, body[:20], answer.status_code)
            assert answer.json()["detail"]
    for path in (
        "/api/enrolment/x/papers",
        "/api/enrolment/" + "0" * 32 + "/papers",
        "/api/enrolment/..%2f..%2fx/papers",
    ):
        assert (await city.manager.http.get(path)).status_code == 404
    assert (await city.manager.http.get("/api/enrolment")).json() == []
    for gateway, operator, status in (("check-a", "alice", 400), ("gw-a", "mallory", 403)):
        asked = {"gateway": gateway, "operator": operator}
        assert (await city.manager.http.post("/api/enrolment/codes", json=asked)).status_code == status


async def test_the_authoritys_certificates_come_in_the_shape_of_rfc_7030(city: City) -> None:
    answer = await city.manager.http.get("/.well-known/est/cacerts")
    assert answer.headers["content-type"].startswith("application/pkcs7-mime")
    found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))
    assert {pki.common_name(each) for each in found} == {"dijon root", "dijon issuing"}


async def test_without_an_authority_nobody_joins(manager: Running) -> None:
    answer = await manager.http.get("/api/enrolment")
    assert (answer.status_code, "serve --ca" in answer.text) == (503, True)


async def test_codes_and_decisions_are_tried_without_making_deciding_or_certifying_anything(city: City) -> None:
    code = await city.code()
    told = await city.fleet("enrolment", "code", GATEWAY, "--operator", "alice", "--dry-run")
    assert told == (0, f"a code for {GATEWAY} would be made; nothing was changed\n")
    assert (await city.fleet("enrolment", "code", "No/Id", "--operator", "alice", "--dry-run"))[0] == 2
    assert (await city.ask(code))[0] == REFUSED  # It waits: the first code is still the one.
    newest = await city.newest()
    decide = ("--operator", "alice", "--dry-run")
    wrong = await city.fleet("enrolment", "approve", newest["id"], "--words", "six other words", *decide)
    assert (wrong[0], "not the words of this request" in wrong[1]) == (REFUSED, True)
    tried = await city.fleet("enrolment", "approve", newest["id"], "--words", newest["words"], *decide)
    assert tried == (0, f"{GATEWAY} would be approved; nothing was decided\n")
    assert "would be refused" in (await city.fleet("enrolment", "refuse", newest["id"], *decide))[1]
    assert await city.newest() == newest
    assert not list((city.ca / authority.ISSUED).iterdir())
    assert (await city.approve())[0] == 0
