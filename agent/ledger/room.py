"""Making room: what the ledger lets go of, in which order. Runs in the caller's transaction."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping

from agent.ledger import tables
from agent.ledger.linking import batch_of
from agent.ledger.tables import Stand
from agent.wire.messages import StreamHead
from agent.wire.streams import SHEDDABLE, Gap, Link

ROOM_AFTER_SHEDDING = 0.75
"""Shedding frees a quarter of the quota at once: one gap record for many links, not one for each."""
SEQ_MAX = 2**63 - 1


def trim(database: sqlite3.Connection, stand: Stand, tail_links: int) -> None:
    """Cut the tail of acknowledged links once it is a quarter too long: rare deletes spare the flash memory."""
    row = database.execute(
        "SELECT MIN(first_seq) FROM links WHERE stream=? AND epoch=?", (stand.stream, stand.epoch)
    ).fetchone()
    keep_above = stand.acked_seq - tail_links
    if row[0] is None or keep_above - row[0] < tail_links // 4:
        return
    tables.delete_links(database, stand, stand.epoch, keep_above)
    _drop_epochs_below(database, stand, stand.epoch)


def links_again(
    database: sqlite3.Connection, stands: Mapping[str, Stand], old: Stand, after: int, quota_bytes: int
) -> Iterator[bytes]:
    """Envelopes of an epoch that is over, above ``after``, to be sealed again in the next one, a few at a time.

    A backlog does not fit into memory, and not twice on the disk: above the quota, what has been sealed again goes.
    Nothing that is still to be read ever does.

    Args:
        stands: the ledger's own; while this is read, the stream stands in its new epoch. old: where it stood.
    """
    while links := tables.links_after(database, old.stream, old.epoch, after, 64):
        for link in links:
            yield link.sealed
            after = link.seq
            if stands[old.stream].bytes > quota_bytes:
                _drop_epochs_below(
                    database, stands[old.stream], old.epoch
                )  # Evidence goes oldest first, without holes.
                tables.delete_links(database, stands[old.stream], old.epoch, after)


def make_room(
    database: sqlite3.Connection, stand: Stand, quota_bytes: int, seal_gap: Callable[[Gap, StreamHead], bytes]
) -> None:
    """Above the quota: first what is only kept for people, then the oldest of what may be shed.

    Args:
        seal_gap: seals a gap record that follows the given link and has the number of the gap's last one.
    """
    _drop_epochs_below(database, stand, stand.epoch)
    tables.delete_links(database, stand, stand.epoch, stand.acked_seq)
    if stand.bytes > quota_bytes and stand.stream in SHEDDABLE:
        _shed(database, stand, stand.bytes - int(quota_bytes * ROOM_AFTER_SHEDDING), seal_gap)


def _drop_epochs_below(database: sqlite3.Connection, stand: Stand, below: int) -> None:
    epochs = database.execute(
        "SELECT DISTINCT epoch FROM links WHERE stream=? AND epoch<?", (stand.stream, below)
    ).fetchall()
    for (epoch,) in epochs:
        tables.delete_links(database, stand, epoch, SEQ_MAX)


def _shed(
    database: sqlite3.Connection, stand: Stand, bytes_to_free: int, seal_gap: Callable[[Gap, StreamHead], bytes]
) -> None:
    """Replace the oldest links by one signed gap record that keeps the chain whole. The newest link always stays."""
    rows = database.execute(
        "SELECT first_seq, seq, hash, LENGTH(sealed) FROM links "
        "WHERE stream=? AND epoch=? AND seq>? AND seq<? ORDER BY seq",
        (stand.stream, stand.epoch, stand.acked_seq, stand.seq),
    )
    chosen: list[tuple[int, int, bytes]] = []
    freed = 0
    for first_seq, seq, link_hash, size in rows:
        chosen.append((first_seq, seq, link_hash))
        freed += size
        if freed >= bytes_to_free:
            break
    rows.close()
    if len(chosen) < 2:
        return  # Replacing one link by one gap record gains nothing.
    first, (_, last, last_hash) = chosen[0][0], chosen[-1]
    oldest = tables.links_after(database, stand.stream, stand.epoch, chosen[0][1] - 1, 1)[0]
    before = StreamHead(stand.stream, stand.epoch, last - 1, batch_of(oldest.sealed).prev)
    count = tables.delete_links(database, stand, stand.epoch, last, stand.acked_seq)
    gap = Gap(first, last, count, "the store for this stream was full and the fleet had not acknowledged", last_hash)
    link = Link(last, last_hash, seal_gap(gap, before))
    tables.insert_link(database, stand, link, first, count, has_events=True)
