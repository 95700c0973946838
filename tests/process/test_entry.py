"""Starting a process: what cannot be used is one sentence and exit code 2, never a wait."""

import os
from pathlib import Path

import pytest

from agent.cli.run import run as run_both
from agent.model.site import Cabinet
from agent.process.entry import EXIT_SETUP, Entry
from agent.wire.keyfile import KeyFileError, read_signer

pytestmark = pytest.mark.timeout(10)


class NeverError(Exception):
    pass


async def run(cabinet: Cabinet, home: Path) -> None:
    raise AssertionError("a site file that cannot be read starts nothing")


ENTRY = Entry("guard", "agent.guard", run, NeverError, "The guard controls nothing.")


def test_a_pipe_for_a_site_file_is_told_and_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.toml"
    os.mkfifo(site)
    assert ENTRY.main([str(site)]) == EXIT_SETUP
    assert capsys.readouterr().err == f"guard: {site}: expected a file, found a pipe\nThe guard controls nothing.\n"
    assert run_both(site) == EXIT_SETUP
    assert capsys.readouterr().err.startswith(f"{site}: expected a file, found a pipe\nNothing was started")


def test_a_device_for_a_site_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ENTRY.main(["/dev/zero"]) == EXIT_SETUP
    assert "/dev/zero: expected a file, found a device" in capsys.readouterr().err


def test_a_pipe_for_a_private_key_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "agent.pem")
    with pytest.raises(KeyFileError, match="cannot be read: this is no file"):
        read_signer(tmp_path / "agent.pem")
