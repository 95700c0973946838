"""A city in which gateways join: a manager with an authority, one cabinet's folder, and the command lines of both."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main as armoire
from agent.wire.demotrust import make_demo_trust
from agent.wire.keyfile import read_signer
from fleet.cli import main as armoire_fleet
from tests.fleet.city import make_authority
from tests.fleet.conftest import CITY, Running, running, until
from tests.fleet.standin import unix_ms

GATEWAY, REFUSED, UNREACHABLE = "gw-darcy", 3, 6
SITE = Path(__file__).parents[2] / "configs/sites/gw-republique.toml"


@dataclass
class City:
    """A manager with an authority, and one cabinet's folder."""

    manager: Running
    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def state(self) -> Path:
        return self.folder / "cabinet/state"

    @property
    def ca(self) -> Path:
        return self.folder / "ca"

    @property
    def trust(self) -> Path:
        return self.folder / "trust"

    async def fleet(self, *words: str, online: bool = True) -> tuple[int, str]:
        self.capsys.readouterr()
        url = ["--url", self.manager.url] if online else []
        code = await asyncio.to_thread(armoire_fleet, [*words, *url])
        shown = self.capsys.readouterr()
        return code, shown.out + shown.err

    async def gateway(self, *words: str) -> tuple[int, str]:
        self.capsys.readouterr()
        site = str(self.folder / "cabinet/site.toml")
        code = await asyncio.to_thread(armoire, [words[0], site, *words[1:]])
        shown = self.capsys.readouterr()
        return code, shown.out + shown.err

    async def code(self) -> str:
        ended, text = await self.fleet("enrolment", "code", GATEWAY, "--operator", "alice")
        assert ended == 0
        return text.split()[0]

    async def ask(self, code: str, wait: str = "1s") -> tuple[int, str]:
        return await self.gateway("enrol", "--fleet", self.manager.url, "--code", code, "--wait", wait)

    async def newest(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = (await self.manager.http.get("/api/enrolment")).json()
        return found[-1]

    async def approve(self) -> tuple[int, str]:
        newest = await self.newest()
        return await self.fleet("enrolment", "approve", newest["id"], "--words", newest["words"], "--operator", "alice")

    async def join(self) -> None:
        code = await self.code()
        assert (await self.ask(code))[0] == REFUSED  # Nobody has looked at it yet.
        assert (await self.approve())[0] == 0
        ended, text = await self.ask(code)
        assert (ended, "enrolled" in text) == (0, True), text

    async def new_key_list(self, *extra: str) -> str:
        """The officers sign what was approved."""
        version = self.manager.room.ring.version + 1
        draft = self.folder / f"keys-{unix_ms()}"
        trust = ["--trust", str(self.trust)]
        ended, told = await self.fleet(
            "keys", "draft", *trust, "--dir", str(self.folder / "fleet"), "--out", str(draft), *extra, online=False
        )
        assert ended == 0, told
        signed = []
        for n in (1, 2):
            out = Path(f"{draft}-{n}")
            key = str(self.trust / f"offline/root-{n}.pem")
            assert (
                await self.fleet("keys", "sign", str(draft), "--key", key, *trust, "--out", str(out), online=False)
            )[0] == 0
            signed.append(str(out))
        assert (await self.fleet("keys", "publish", signed[0], *trust, online=False))[0] == 4  # One of two officers.
        assert (await self.fleet("keys", "publish", *signed, *trust, online=False))[0] == 0
        await until(lambda: self.manager.room.ring.version == version)
        return told

    def kids(self) -> set[str]:
        return {entry.kid for entry in self.manager.room.ring.entries() if entry.role in {"agent", "guard"}}

    def own_kids(self, names: Sequence[str] = ("agent", "guard")) -> set[str]:
        return {read_signer(self.state / f"keys/{name}.pem").kid.decode() for name in names}


@pytest.fixture
async def city(
    tmp_path: Path, broker_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[City]:
    monkeypatch.setattr("fleet.keys_in_force.KEY_LIST_S", 0.05)
    monkeypatch.setattr("fleet.enrolment_api.RETRY_S", 1)
    make_authority(tmp_path / "ca")
    make_demo_trust(tmp_path / "trust", CITY, ["gw-monge"], now_ms=unix_ms())
    (tmp_path / "cabinet").mkdir()
    shutil.copy(SITE, tmp_path / "cabinet/site.toml")
    site = (tmp_path / "cabinet/site.toml").read_text().replace("gw-republique", GATEWAY)
    (tmp_path / "cabinet/site.toml").write_text(site)
    async with running(tmp_path / "fleet", tmp_path / "trust", broker_port, authority=tmp_path / "ca") as manager:
        made = City(manager, tmp_path, capsys)
        made.state.mkdir(parents=True, exist_ok=True)
        yield made
