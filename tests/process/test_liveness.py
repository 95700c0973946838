"""Liveness, and the word to systemd."""

import socket
import time
from pathlib import Path

import pytest

from agent.process.liveness import Liveness, notify, watchdog_period_s


def test_a_loop_is_late_only_past_its_deadline_and_until_it_comes_round() -> None:
    liveness = Liveness()
    liveness.register("scan", 5_000, now_ms=0)
    liveness.register("presence", 1_000, now_ms=0)
    assert liveness.late(1_000) == []
    assert liveness.late(1_001) == ["presence"]
    assert liveness.late(5_001) == ["scan", "presence"]
    liveness.beat("scan", 5_001)
    assert liveness.late(5_001) == ["presence"]


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("WATCHDOG=1")


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_and_a_full_queue_blocks_nobody(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")[-90:] if kind == "path" else f"@armoire-test-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address if kind == "path" else "\0" + address[1:])
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
        began_s = time.monotonic()
        said = [notify("WATCHDOG=1") for _ in range(2_000)]
        assert said[0]
        assert not said[-1]
        assert time.monotonic() - began_s < 5


def test_a_systemd_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify("WATCHDOG=1")


@pytest.mark.parametrize(("usec", "period_s"), [("3000000", 1.0), ("30000000", 3.0), ("", 3.0), ("0", 3.0), ("x", 3.0)])
def test_the_watchdog_is_fed_three_times_in_its_time(
    usec: str, period_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    assert watchdog_period_s(3.0) == period_s


def test_a_dead_systemd_blocks_nobody_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")[-90:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
    monkeypatch.setenv("NOTIFY_SOCKET", path)  # The file is there, and nobody behind it.
    began_s = time.monotonic()
    assert not any(notify("WATCHDOG=1") for _ in range(100))
    assert time.monotonic() - began_s < 5
