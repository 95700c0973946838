"""The configuration we write, in a real mosquitto: it keeps its promises, and a broken one is found out."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from fleet.broker_check import Check, Finding
from fleet.broker_config import ACL_FILE, CONFIG_FILE, BrokerSettings, acl, mosquitto_conf
from fleet.cli import main
from fleet.errors import FolderError
from fleet.link import address_of
from tests.fleet.city import CITY, RealBroker, make_authority, real_broker

ETC = PurePosixPath("/etc/mosquitto/armoire")


async def tried(
    broker: RealBroker, folder: Path, issuer: object, other: RealBroker | None = None, only: str = ""
) -> list[Finding]:
    second = address_of(other.url, "mqtts") if other else None
    check = Check(CITY, address_of(broker.url, "mqtts"), issuer, folder, second, broker.reload)  # type: ignore[arg-type]
    return await check.run(only)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.broker_check.REFUSED_S", 1.0)


def broken(findings: list[Finding]) -> list[str]:
    return [each.promise for each in findings if each.holds is False]


async def test_the_written_configuration_keeps_every_promise(
    tmp_path: Path, require_program: Callable[[str], Path]
) -> None:
    program, issuer = require_program("mosquitto"), make_authority(tmp_path / "ca")
    with (
        real_broker(program, tmp_path / "room-a", issuer) as broker,
        real_broker(program, tmp_path / "room-b", issuer) as other,
    ):
        findings = await tried(broker, tmp_path, issuer, other)
        assert [each for each in findings if not each.holds] == []
        assert len(findings) == 12


@pytest.mark.parametrize(
    ("file", "old", "new", "promise"),
    [
        ("acl", "pattern write armoire/1/dijon/%u/up/state", "pattern write armoire/1/dijon/+/up/state", "publish under"),
        ("acl", "pattern read armoire/1/dijon/%u/down/cmd", "pattern read armoire/1/dijon/+/down/cmd", "cannot read"),
        ("acl", "pattern read armoire/1/dijon/fleet/state", "pattern readwrite armoire/1/dijon/fleet/state", "as the fleet"),
        ("acl", "pattern read armoire/1/dijon/fleet/state", "pattern readwrite armoire/1/dijon/fleet/state", "not retained"),
        ("conf", "use_username_as_clientid true", "use_username_as_clientid false", "take another's client id"),
        ("conf", "message_size_limit 262144", "message_size_limit 0", "larger than an envelope"),
        ("conf", "message_size_limit 262144", "message_size_limit 200000", "up to the largest envelope"),
        ("conf", "require_certificate true", "require_certificate false", "without a certificate"),
        ("conf", "crlfile", "# crlfile", "revoked certificate"),
    ],
)  # fmt: skip
async def test_a_configuration_that_lost_a_line_is_found_out(
    file: str, old: str, new: str, promise: str, tmp_path: Path, require_program: Callable[[str], Path]
) -> None:
    issuer = make_authority(tmp_path / "ca")
    broker = RealBroker(require_program("mosquitto"), tmp_path / "room-a", issuer)
    assert old in getattr(broker, file)
    setattr(broker, file, getattr(broker, file).replace(old, new))
    if file == "conf" and "require" in old:  # Without a name there is no client id to take from it.
        for name in ("use_username_as_clientid", "use_identity_as_username"):
            broker.conf = broker.conf.replace(f"{name} true", f"{name} false")
        broker.conf = broker.conf.replace("anonymous false", "anonymous true")
    try:
        broker.start()
        found = broken(await tried(broker, tmp_path, issuer, only=promise))
        assert len(found) == 1
    finally:
        broker.stop()


async def test_a_broker_that_is_not_there_is_not_called_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_authority(tmp_path / "ca")
    words = ["broker", "check", "mqtts://127.0.0.1:1", "--city", CITY, "--dir", str(tmp_path / "ca")]
    assert await asyncio.to_thread(main, words) == 4
    assert "holds" not in capsys.readouterr().out


def test_the_files_are_written_once_and_replaced_only_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["broker", "config", "--city", CITY, "--manager", "control-room", "--listen", "10.0.0.5:8883"]
    assert main([*words, "--out", str(tmp_path / "b"), "--dry-run"]) == 0
    assert not (tmp_path / "b").exists()
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    for name in (CONFIG_FILE, ACL_FILE):
        assert stat.S_IMODE((tmp_path / "b" / name).stat().st_mode) == 0o644
    assert main([*words, "--out", str(tmp_path / "b")]) == 4
    assert "exists already" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "b"), "--replace"]) == 0
    assert "listener 8883 10.0.0.5" in (tmp_path / "b" / CONFIG_FILE).read_text()


def test_every_line_of_the_configuration_is_one_of_mosquittos_and_stands_once() -> None:
    text = mosquitto_conf(BrokerSettings(CITY, ["a", "b"], "::1", 8883, ETC, ETC))
    words = [line.split()[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert [word for word in words if words.count(word) > 1 and word != "log_type"] == []
    assert {"require_certificate", "use_identity_as_username", "set_tcp_nodelay", "crlfile", "persistence"} <= set(
        words
    )
    assert "user fleet/b" in acl(BrokerSettings(CITY, ["a", "b"], "::1", 8883, ETC, ETC))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("city", "Dijon"), ("city", "a/b"), ("managers", []), ("managers", ["#"]), ("managers", ["check"]),
        ("address", "a b"), ("address", "a\nallow_anonymous true"), ("user", ""), ("port", 0), ("port", 65_536),
        ("tls", PurePosixPath("tls")), ("etc", PurePosixPath("/etc\nallow_anonymous true")), ("connections_max", 1),
    ],
)  # fmt: skip
def test_what_cannot_stand_in_a_configuration_is_refused(field: str, value: object) -> None:
    fields = {"city": CITY, "managers": ["a"], "address": "::1", "port": 8883, "tls": ETC, "etc": ETC, field: value}
    with pytest.raises(FolderError):
        BrokerSettings(**fields)  # type: ignore[arg-type]
