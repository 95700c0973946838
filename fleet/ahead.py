"""Signatures checked ahead of the writer, by a process beside ours, while the writer stores the group before.

A check costs 0.1 ms and Python's lock keeps a thread from doing it beside the writer's own work, so a small batch would
cost more to verify than to store. The process is started when there is more waiting than one group holds, which in a
city means after an outage, and answers no more than "good" or "not known": whatever it does not call good, and
everything if it is slow or gone, is verified here as ever.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from select import select
from socket import socket, socketpair

import msgspec
import structlog

from agent.wire.messages import SCHEMA
from agent.wire.trust import KeyList, KeyRing
from fleet.arrival import Arrival
from fleet.verifier import LENGTH_BYTES, READY

ANSWER_S = 2.0
"""A group takes 50 ms. One that takes this long is verified here, and the process is given up."""
AGAIN_S = 60.0
"""Before another is started in the place of one that failed."""
STOP_S = 1.0


class Ahead:
    """The way to that process, for the writer's thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket | None = None
        self._is_ready = False
        self._ring: KeyRing | None = None
        self._given: Sequence[Arrival] = ()
        self._failed_s: float | None = None
        self._log = structlog.get_logger("writer")
        self.checked = 0

    def begin(self, ring: KeyRing, arrivals: Sequence[Arrival]) -> None:
        """Have a group checked. The process is started if it does not run, and used as soon as it is ready."""
        assert not self._given
        if self._line is None and not self._start():
            return
        assert self._line is not None
        try:
            if not self._is_ready:
                if not select([self._line], [], [], 0)[0]:
                    return
                if self._line.recv(1) != READY:
                    raise ConnectionError("it ended as it began")
                self._is_ready = True
            key_list = None if ring is self._ring else _key_list(ring)
            body = msgspec.msgpack.encode((key_list, [(each.topic, each.data) for each in arrivals]))
            self._line.sendall(len(body).to_bytes(LENGTH_BYTES, "big") + body)
        except OSError as error:
            self._give_up(error)
            return
        self._ring, self._given = ring, arrivals

    def end(self) -> None:
        """Wait for the answer about the group last given, and mark what is good."""
        given, self._given = self._given, ()
        if not given or self._line is None:
            return
        answer = b""
        try:
            while len(answer) < len(given):  # Each turn brings something or raises.
                answer += (more := self._line.recv(len(given) - len(answer)))
                if not more:
                    raise ConnectionError("it has ended")
        except OSError as error:
            self._give_up(error)
            return
        for arrival, is_good in zip(given, answer, strict=True):
            arrival.checked_by = self._ring if is_good else None
        self.checked += sum(answer)

    def close(self) -> None:
        """Hang up, which ends the process."""
        line, process = self._line, self._process
        self._line = self._process = self._ring = None
        self._given, self._is_ready = (), False
        if line is not None:
            line.close()
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            if process.returncode is None:
                process.kill()
                process.wait()

    def _start(self) -> bool:
        if self._failed_s is not None and time.monotonic() - self._failed_s < AGAIN_S:
            return False
        ours, theirs = socketpair()
        ours.settimeout(ANSWER_S)
        with theirs:
            command = [sys.executable, "-m", "fleet.verifier", str(theirs.fileno())]
            try:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
            except OSError as error:
                ours.close()
                self._give_up(error)
                return False
        self._line = ours
        return True

    def _give_up(self, error: OSError) -> None:
        """Verify here until another is started: slower, and nothing else."""
        self._log.warning("verifier.given-up", reason=str(error) or type(error).__name__)
        self._failed_s = time.monotonic()
        if self._process is not None:
            self._process.kill()
        self.close()


def _key_list(ring: KeyRing) -> KeyList:
    return KeyList(SCHEMA, ring.city, ring.version, ring.issued_ms, ring.expires_ms, list(ring.entries()))
