"""Liveness-gated watchdog: systemd is fed only while every registered loop beats in time."""

import os
import socket
from dataclasses import dataclass, field


@dataclass(slots=True)
class Liveness:
    """Who must beat, how often, and who is late. ``The event loop runs`` would prove too little."""

    _beats: dict[str, tuple[int, int]] = field(default_factory=dict)

    def register(self, name: str, deadline_ms: int, now_ms: int) -> None:
        """Expect ``beat(name)`` at least every ``deadline_ms``."""
        self._beats[name] = (now_ms, deadline_ms)

    def beat(self, name: str, now_ms: int) -> None:
        """The loop ``name`` has just come round."""
        self._beats[name] = (now_ms, self._beats[name][1])

    def late(self, now_ms: int) -> list[str]:
        """Names of loops past their deadline."""
        return [name for name, (at_ms, deadline_ms) in self._beats.items() if now_ms - at_ms > deadline_ms]


def watchdog_period_s(longest_s: float) -> float:
    """How often to feed systemd's watchdog: three times in the time its unit says, at least once in ``longest_s``."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    return min(longest_s, int(usec) / 3_000_000) if usec.isdecimal() and int(usec) else longest_s


def notify(message: str) -> bool:
    """Tell systemd, if it started us; False if it did not or its queue is full.

    The socket is non-blocking: its queue holds about ten datagrams and a blocking send once froze a loop.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.send(message.encode())
        except OSError:
            return False
    return True
