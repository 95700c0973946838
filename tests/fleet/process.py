"""The manager as the process it is in service."""

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

START_S = 30.0


class Process:
    """One ``armoire-fleet serve``."""

    def __init__(self, folder: Path, trust: Path, port: int) -> None:
        self._log = (folder / "fleet.log").open("ab")
        arguments = [sys.executable, "-m", "fleet.cli", "serve", "--dir", str(folder), "--trust", str(trust)]
        self.popen = subprocess.Popen(
            [*arguments, "--http", "127.0.0.1:0", "--broker", f"mqtt://127.0.0.1:{port}"],
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        try:
            self.url = self._ready()
        except BaseException:  # Whatever it was: no process is left behind.
            self.kill()
            raise

    def _ready(self) -> str:
        assert self.popen.stdout is not None
        readable, _, _ = select.select([self.popen.stdout], [], [], START_S)
        text = self.popen.stdout.readline().decode() if readable else "nothing"
        assert text.startswith("ready http://127.0.0.1:"), text
        return text.removeprefix("ready ").strip().rstrip("/")

    def kill(self) -> None:
        """As a power cut would."""
        self.popen.kill()
        self.close()

    def close(self) -> None:
        """Let go of its pipes, once it has ended."""
        self.popen.wait(10)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        self._log.close()


@contextlib.contextmanager
def process(folder: Path, trust: Path, port: int) -> Iterator[Process]:
    """A manager for the length of the block."""
    made = Process(folder, trust, port)
    try:
        yield made
    finally:
        if made.popen.poll() is None:
            made.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                made.popen.wait(5)
            made.popen.kill()
        made.close()
