"""How many managers a city has, and what they share.

alone           one manager, one store; no lease
shared store    two managers on one store, which holds the lease too: one writes, the other follows
own stores      two managers that both hear everything and store it, each for itself; the lease is in a third place
"""

from dataclasses import dataclass
from pathlib import Path

from fleet import schema
from fleet.engine import open_database
from fleet.errors import FolderError
from fleet.fence import Fence
from fleet.folder import DATABASE_FILE
from fleet.lease_rows import Claim
from fleet.lease_store import LeaseStore, new_life
from fleet.store import Store

ALONE, SHARED_STORE, OWN_STORES = "alone", "shared-store", "own-stores"

Place = Path | str
"""A file of SQLite's, or a database's address as SQLAlchemy writes it."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What this manager was told about another one.

    Args:
        store: the one both share, None for one's own. lease: where the lease is if it is not in the store.
        url: where our API is, for people.

    Raises:
        FolderError: both are given.
    """

    store: Place | None = None
    lease: Place | None = None
    url: str = ""

    def __post_init__(self) -> None:
        """A shared store must hold the lease itself: only then can one transaction ask it and write."""
        if self.store is not None and self.lease is not None:
            raise FolderError("--store and --lease: a shared store holds the lease itself; give one of the two")

    @property
    def kind(self) -> str:
        """Which of the three."""
        return SHARED_STORE if self.store is not None else ALONE if self.lease is None else OWN_STORES


@dataclass(frozen=True, slots=True)
class Opened:
    """The databases of one manager."""

    store: Store
    lease: LeaseStore | None
    fence: Fence | None
    log: str


def open_stores(arrangement: Arrangement, folder: Path, fleet: str) -> Opened:
    """Open them.

    Raises:
        FolderError, StoreError: one of them cannot be used.
    """
    claim = Claim(fleet, new_life(), arrangement.url)
    if arrangement.store is not None:
        store = Store(arrangement.store)
        held = LeaseStore(store.engine, claim, fleet)
        return Opened(store, held, Fence(claim.life), held.row.log)
    store = Store(folder / DATABASE_FILE)
    if arrangement.lease is None:
        return Opened(store, None, None, fleet)
    return Opened(store, LeaseStore(open_database(arrangement.lease, [schema.leases]), claim, ""), None, fleet)


def place_of(text: str) -> Place | None:
    """A path, or an address if it has ``://`` in it; None for nothing."""
    return None if not text else text if "://" in text else Path(text)
