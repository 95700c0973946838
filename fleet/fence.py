"""What keeps a manager that no longer leads from writing into the store it shares: asked last, in the very transaction.

It renews the lease by the way, so a manager that is busy storing needs no other proof of life.
"""

import time
from collections.abc import Callable

from sqlalchemy import Connection

from fleet import lease_rows
from fleet.errors import StoreError
from fleet.lease import LeaseRow


def now_ms() -> int:
    """Monotonic, and goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class DeposedError(StoreError):
    """Another manager leads: nothing was written."""


class Fence:
    """Belongs to the writer's thread; opened and closed there.

    Args:
        life: this process's name in the lease.
    """

    def __init__(self, life: str) -> None:
        self.term = 0
        self._life = life
        self._renewed: tuple[LeaseRow, int] | None = None
        self.told: Callable[[LeaseRow | None, int], None] = lambda _row, _asked_ms: None
        """Called on the event loop: renewed, and when that was asked; or, with None, deposed."""

    def check(self, connection: Connection) -> None:
        """Let the transaction end well only if the lease is still ours.

        Raises:
            DeposedError: it is not.
        """
        asked_ms = now_ms()
        row = lease_rows.renew(connection, self._life, self.term) if self.term else None
        if row is None:
            self.term = 0
            raise DeposedError("another manager leads: nothing was written here")
        self._renewed = (row, asked_ms)

    def committed(self) -> tuple[LeaseRow, int] | None:
        """The renewal that became durable, once."""
        renewed, self._renewed = self._renewed, None
        return renewed
