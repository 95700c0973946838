"""``docs/wire.md`` is enough to write a gateway: one that was, on a real broker with mutual TLS, with a real manager."""

import ast
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.wire.keyfile import read_signer
from agent.wire.messages import decode_birth, encode
from fleet.link import read_broker
from tests.fleet.city import CITY, certify, certify_manager, make_authority, real_broker
from tests.fleet.conftest import Running, running, trust_folder, until
from tests.tree import modules_imported
from tests.wire import stranger, vectors

__all__ = ["trust_folder"]

FILE = Path("tests/wire/stranger.py")
GATEWAY = "gw-darcy"
LEVEL = {"level_percent": 60, "lease_s": 600}


class Stranger:
    """The process, and what it told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[list[Any]] = []

    async def listen(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.told.append(json.loads(line))


@asynccontextmanager
async def strange_gateway(folder: Path, trust: Path, port: int, conn: int = 1) -> AsyncIterator[Stranger]:
    """It knows nothing but its keys, whom to believe, and where the broker is."""
    key = read_signer(trust / "gateways" / GATEWAY / "agent.pem")
    assert isinstance(key._key, Ed25519PrivateKey)
    settings = {
        "city": CITY, "gateway": GATEWAY, "kid": key.kid.decode(), "seed": key._key.private_bytes_raw().hex(), "conn": conn,
        "roots": (trust / "roots.toml").read_text(), "keys": str(trust / "keys.sealed"), "level": 40, "host": "127.0.0.1",
        "port": port, "ca": str(folder / "ca.pem"), "certificate": str(folder / "gateway.pem"),
        "tls_key": str(folder / "gateway.key"),
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(stranger.__file__)), str(folder / "settings.json"), stdout=asyncio.subprocess.PIPE
    )
    made = Stranger(process)
    async with asyncio.TaskGroup() as group:
        group.create_task(made.listen())
        try:
            yield made
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def level(manager: Running) -> object:
    """What the control room sees."""
    equipment = (await manager.http.get("/api/district")).json()["equipment"]
    return next((each["points"].get("level_percent", {}).get("value") for each in equipment if each["points"]), None)


async def test_a_gateway_written_from_the_page_alone_joins_delivers_and_obeys(
    tmp_path: Path, trust_folder: Path, require_program: Callable[[str], Path]
) -> None:
    issuer = make_authority(tmp_path / "ca")
    certify(issuer, GATEWAY, tmp_path / "gateway")
    certify_manager(issuer, tmp_path / "fleet/tls")
    with real_broker(require_program("mosquitto"), tmp_path / "room-a", issuer) as broker:
        place = read_broker(broker.url, tmp_path / "fleet")
        async with (
            running(tmp_path / "fleet", trust_folder, place) as manager,
            strange_gateway(tmp_path / "gateway", trust_folder, broker.port) as gateway,
        ):
            await until(lambda: ["acknowledged", 3] in gateway.told)
            assert ["state", "control-room"] in gateway.told
            assert await level(manager) == 40
            body = {
                "gateway": GATEWAY,
                "equipment": "segment-1",
                "verb": "set-level",
                "args": LEVEL,
                "operator": "alice",
            }
            answer = (await manager.http.post("/api/commands", json=body)).json()
            assert (answer["status"], answer["state"]) == ("done", "the level is 60 %")
            await until(lambda: ["acknowledged", 4] in gateway.told)
            assert await level(manager) == 60
            beyond = body | {"args": {"level_percent": 101, "lease_s": 600}}
            answer = (await manager.http.post("/api/commands", json=beyond)).json()
            assert (answer["status"], answer["rule"]) == ("refused", "SR-08")
            assert manager.room.rejections == {}
            assert [words for words in gateway.told if words[0] == "rejected"] == []
            gateway.process.kill()  # Its will, signed before it connected, tells.
            registry = manager.room.registry.gateways
            await until(lambda: not registry[GATEWAY].is_connected)


def test_the_stranger_shares_no_line_with_us() -> None:
    own = [
        module for module in modules_imported(FILE) if module.split(".")[0] in ("agent", "fleet", "drivers", "tests")
    ]
    assert own == []
    assert "import_module" not in ast.dump(ast.parse(FILE.read_text()))


@pytest.mark.parametrize("vector", vectors.make()["envelopes"], ids=lambda vector: vector["name"])
def test_it_takes_apart_and_makes_the_worked_bytes_as_we_do(vector: dict[str, Any]) -> None:
    kid, protected, payload, signature, end = stranger.split(bytes.fromhex(vector["envelope"]))
    public = next(each["public_key"] for each in vectors.make()["keys"] if each["kid"] == kid)
    stranger.check(bytes.fromhex(public), protected, vector["external_aad"], payload, signature)
    assert (payload.hex(), end) == (vector["payload"], len(vector["envelope"]) // 2)
    seed = next(each["seed"] for each in vectors.make()["keys"] if each["kid"] == kid)
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    assert (
        stranger.seal(key, kid, stranger.pack(stranger.unpack(payload)), vector["external_aad"]).hex()
        == vector["envelope"]
    )


@pytest.mark.parametrize("vector", vectors.make()["refused"], ids=lambda vector: vector["why"])
def test_it_refuses_what_must_be_refused(vector: dict[str, str]) -> None:
    public = {each["kid"]: bytes.fromhex(each["public_key"]) for each in vectors.make()["keys"]}
    data, aad = bytes.fromhex(vector["envelope"]), "arm1|dijon|gw-darcy|up|state"
    with pytest.raises(stranger.Wrong):
        stranger.whole(data, public, aad)


def test_its_messagepack_is_ours() -> None:
    """Of a birth with everything in it."""
    row = vectors.make()["envelopes"][0]
    message = decode_birth(bytes.fromhex(row["payload"]))
    assert stranger.pack(stranger.unpack(encode(message))) == encode(message)
