"""A manager whose own key cannot sign, as a token that was taken out: it stores, says nothing, and goes on when it can again."""

from collections.abc import Callable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.wire.keyfile import KeyFileError, Signer
from fleet import changes, schema
from fleet.director import TOLD_EVERY_S, DirectorKey
from fleet.errors import SigningError
from fleet.folder import Trust
from tests.fleet.conftest import GATEWAYS, Running, until
from tests.fleet.intake import Bench
from tests.fleet.standin import StandIn

Logs = list[MutableMapping[str, Any]]
MESSAGE = {"gateway": "gw-darcy", "equipment": "segment-1"}


class Token:
    """A token with the director's key in it, which can be taken out."""

    def __init__(self, signer: Signer) -> None:
        self.algorithm, self.public_key, self.reference = signer.algorithm, signer.public_key, "pkcs11:"
        self.signer = Signer(signer.kid.decode(), self)
        self.is_out = False
        self._inside = signer

    def sign(self, message: bytes) -> bytes:
        if self.is_out:
            raise KeyFileError("the token is not there")
        return self._inside.sign(message)


def told(logs: Logs) -> list[str]:
    return [each["event"] for each in logs if each["event"].startswith("director.")]


def acknowledged(changed: list[changes.Change]) -> list[str]:
    return [each.gateway for each in changed if isinstance(each, changes.AckDue)]


def test_a_key_that_cannot_sign_is_told_once_a_minute_and_when_it_can_again(trust: Trust, logs: Logs) -> None:
    token = Token(trust.director)
    times_s = iter((0.0, 1.0, TOLD_EVERY_S - 1, TOLD_EVERY_S))
    key = DirectorKey(token.signer, lambda: next(times_s))
    token.is_out = True
    for _ in range(4):
        with pytest.raises(SigningError, match="the token is not there"):
            key.as_signer.sign(b"")
    assert key.problem == "the token is not there"
    token.is_out = False
    assert key.as_signer.sign(b"") == trust.director.sign(b"")
    assert key.as_signer.public_key == trust.director.public_key
    assert key.problem == ""
    assert told(logs) == ["director.cannot-sign", "director.cannot-sign", "director.signs"]


def test_what_is_stored_meanwhile_is_acknowledged_with_the_first_commit_after(
    tmp_path: Path, trust: Trust, standin: Callable[..., StandIn]
) -> None:
    token = Token(trust.director)
    bench = Bench(tmp_path / "fleet.db", replace(trust, director=DirectorKey(token.signer).as_signer))
    first, second = standin(), standin(GATEWAYS[1])
    token.is_out = True
    for voice in (first, second):
        assert acknowledged(bench.take(voice.birth(), voice.samples({"segment-1/n": 1}))) == []
    assert bench.count(schema.links) == 2
    token.is_out = False
    changed = bench.take(second.samples({"segment-1/n": 2}))
    assert acknowledged(changed) == list(GATEWAYS[:2])
    assert [bench.heads(changed, gateway)["state"].seq for gateway in GATEWAYS[:2]] == [1, 2]
    assert acknowledged(bench.take(second.samples({"segment-1/n": 3}))) == [GATEWAYS[1]]
    bench.store.close()


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Kids whose keys cannot be used."""
    kids: set[bytes] = set()
    sign = Signer.sign

    def signed(self: Signer, message: bytes) -> bytes:
        if self.kid in kids and isinstance(self._key, Ed25519PrivateKey):
            raise KeyFileError("the token is not there")
        return sign(self, message)

    monkeypatch.setattr(Signer, "sign", signed)
    return kids


async def test_a_manager_without_its_key_goes_on_and_says_nothing_until_it_has_it_again(
    out: set[bytes], manager: Running, standin: Callable[..., StandIn], logs: Logs
) -> None:
    room = manager.room
    async with manager.live(standin()).connected() as gateway:
        gateway.tell(gateway.voice.samples({"segment-1/n": 1}))
        await gateway.wait_acknowledged()
        acks = len(gateway.acks)
        out.add(room.trust.director.kid)
        gateway.tell(gateway.voice.samples({"segment-1/n": 2}))
        await until(lambda: room.ingest.tally.batches >= 2)
        room.announce()
        await until(lambda: room.director.problem)
        with pytest.raises(SigningError):
            await room.checkpoints.make(1)
        with pytest.raises(SigningError):
            await room.writer.transact(lambda connection: room.leading._calls(frozenset(GATEWAYS), connection))
        body = {"operator": "alice", "settings": {"segment-1": {"night_level_percent": 60}}}
        answer = await manager.http.post(f"/api/desired/{GATEWAYS[0]}", json=body)
        assert (answer.status_code, "nothing was changed" in answer.json()["detail"]) == (503, True), answer.json()
        health = (await manager.http.get("/api/health")).json()
        assert "the token is not there; nothing is acknowledged" in health["detail"]
        assert len(gateway.acks) == acks
        out.clear()
        gateway.tell(gateway.voice.samples({"segment-1/n": 3}))
        await gateway.wait_acknowledged()
        assert room.link.reconnects == 1
        assert told(logs) == ["director.cannot-sign", "director.signs"]
