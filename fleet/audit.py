"""The manager's log asked from outside: proofs out of its database, and whether all of it is what it signed for.

The database is only read, also while a manager runs on it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from agent.wire.checkpoint import Checkpoint, open_checkpoint
from agent.wire.errors import MessageError, TrustError, WireError
from agent.wire.fleetlog import LINK, RESULT, GrowthProof, LogEntry, RecordProof, check_envelope
from agent.wire.merkle import Frontier, consistency_proof, inclusion_proof, leaf_hash
from agent.wire.messages import decode
from agent.wire.trust import KeyRing
from fleet import merkle_log, schema
from fleet.errors import FleetError
from fleet.folder import DATABASE_FILE
from fleet.merkle_log import StoredTree

FINDINGS_MAX = 20

Progress = Callable[[int, int], None]


class AuditError(FleetError):
    """The log cannot be asked for this. Nothing was changed."""


@dataclass(slots=True)
class Audited:
    """What a look at the whole log found.

    Args:
        entries, checkpoints, envelopes: how many were checked.
        findings: what is wrong, in words, at most FINDINGS_MAX.
    """

    entries: int = 0
    checkpoints: int = 0
    envelopes: int = 0
    newest: Checkpoint | None = None
    findings: list[str] = field(default_factory=list)

    def found(self, text: str) -> None:
        """Note what is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(text)


@contextmanager
def opened(folder: Path) -> Iterator[Connection]:
    """Open a manager's database for reading.

    Raises:
        AuditError: there is none, or it cannot be read.
    """
    path = folder / DATABASE_FILE
    if not path.is_file():
        raise AuditError(f"{path}: there is no database: name the manager's folder with --dir")
    engine = create_engine(f"sqlite:///file:{path.absolute()}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, TypeError) as error:  # A column of another type than ours holds what nobody of us wrote.
        raise AuditError(f"{path} cannot be read, or is damaged: {getattr(error, 'orig', None) or error}") from error
    finally:
        engine.dispose()


def newest_note(connection: Connection) -> str:
    """The newest checkpoint.

    Raises:
        AuditError: none was made yet.
    """
    note = merkle_log.newest_note(connection)
    if not note:
        raise AuditError("no checkpoint was made yet: a running manager makes the first one at once")
    return note


def record_proof(connection: Connection, place: int, ring: KeyRing) -> RecordProof:
    """Prove that one entry stands in the log behind the newest checkpoint.

    Raises:
        AuditError: no such entry, or no checkpoint covers it yet.
    """
    note = newest_note(connection)
    size = open_checkpoint(ring, note).size
    entry = merkle_log.entry_at(connection, place)
    if entry is None or place >= size:
        raise AuditError(f"the newest checkpoint covers entries 0..{size - 1}, not {place}")
    hashes = inclusion_proof(place, size, StoredTree(connection).node)
    return RecordProof(entry, place, tuple(hashes), note, _envelope_of(connection, decode(entry, LogEntry)))


def growth_proof(connection: Connection, older: str, ring: KeyRing) -> GrowthProof:
    """Prove that the log behind the newest checkpoint begins with the one behind an older checkpoint.

    Raises:
        AuditError: it is of another manager, or we have less.
        WireError, TrustError: the older one is not to be believed.
    """
    note = newest_note(connection)
    old, new = open_checkpoint(ring, older), open_checkpoint(ring, note)
    if old.origin != new.origin:
        raise AuditError(f"that checkpoint is of {old.origin}, this log is {new.origin}")
    if old.size > new.size:
        raise AuditError(
            f"that checkpoint has {old.size} entries, our newest only {new.size}: this database was lost or put back"
        )
    return GrowthProof(tuple(consistency_proof(old.size, new.size, StoredTree(connection).node)), older, note)


def place_of_record(connection: Connection, gateway: str, stream: str, epoch: int, seq: int) -> int:
    """Where the entry of one record stands.

    Raises:
        AuditError: the record is not stored, or was before the log began.
    """
    links = schema.links.c
    number = connection.execute(
        select(links.no)
        .join(schema.gateways, schema.gateways.c.no == links.gateway_no)
        .where(schema.gateways.c.id == gateway, links.stream == stream, links.epoch == epoch, links.seq == seq)
    ).scalar()
    what = f"record {seq} of epoch {epoch} of {gateway} {stream}"
    if number is None:
        raise AuditError(f"{what} is not stored here")
    place = merkle_log.place_of_link(connection, number)
    entry = _decoded(merkle_log.entry_at(connection, place)) if place is not None else None
    if place is None or entry is None or (entry.gateway, entry.name, entry.epoch, entry.number) != (
        gateway, stream, epoch, seq,
    ):  # fmt: skip
        raise AuditError(
            f"{what} is stored, but the log does not name it: it was stored before the log began, or added"
        )
    return place


def places_of_command(connection: Connection, command_id: str) -> list[int]:
    """Where the entries about a command stand.

    Raises:
        AuditError: there are none.
    """
    places = merkle_log.places_of(connection, command_id)
    if not places:
        raise AuditError(f"the log names no command {command_id!r}")
    return places


def audit(connection: Connection, ring: KeyRing, remembered: str = "", progress: Progress | None = None) -> Audited:
    """Hash the whole log anew, compare it with every checkpoint ever published, and every envelope with its entry.

    Args:
        remembered: a checkpoint from outside, that a gateway or an auditor kept: the only one a dishonest manager
            cannot have rewritten.
        progress: told how many entries of how many are done.
    """
    audited = Audited()
    notes = _checkpoints(connection, ring, remembered, audited)
    tree, frontier = StoredTree(connection), Frontier()
    _compare(audited, notes, frontier, tree)
    for place, link_no, data in merkle_log.entries_from(connection):
        if place != audited.entries:
            audited.found(f"entry {audited.entries} is missing")
            break
        frontier.append(leaf_hash(data))
        audited.entries += 1
        _compare(audited, notes, frontier, tree)
        _check_entry(connection, ring, audited, place, link_no, data)
        if progress is not None and not place % 1_000:
            progress(place, tree.size)
    for size in sorted(notes):
        audited.found(f"a checkpoint covers {size} entries, of which only {audited.entries} are here")
    _check_strays(connection, audited)
    return audited


def _checkpoints(connection: Connection, ring: KeyRing, remembered: str, audited: Audited) -> dict[int, set[bytes]]:
    """The roots that were signed for, by size."""
    roots: dict[int, set[bytes]] = {}
    table = schema.log_checkpoints.c
    notes = [(row.size, row.note) for row in connection.execute(select(table.size, table.note).order_by(table.size))]
    for size, note in notes:
        try:
            checkpoint = open_checkpoint(ring, note)
        except (WireError, TrustError) as error:
            audited.found(f"the checkpoint of {size} entries is not to be believed: {error}")
            continue
        if checkpoint.size != size:
            audited.found(f"the checkpoint of {size} entries says {checkpoint.size}")
        roots.setdefault(checkpoint.size, set()).add(checkpoint.root)
        audited.newest = checkpoint
        audited.checkpoints += 1
    if remembered:
        checkpoint = open_checkpoint(ring, remembered)
        if audited.newest is not None and checkpoint.origin != audited.newest.origin:
            raise AuditError(f"that checkpoint is of {checkpoint.origin}, this log is {audited.newest.origin}")
        roots.setdefault(checkpoint.size, set()).add(checkpoint.root)
        audited.checkpoints += 1
    return roots


def _compare(audited: Audited, notes: dict[int, set[bytes]], frontier: Frontier, tree: StoredTree) -> None:
    signed = notes.pop(frontier.size, None)
    if signed is None:
        return
    if signed != {frontier.root()}:
        audited.found(f"the first {frontier.size} entries are not those that were signed for")
    elif tree.root(frontier.size) != frontier.root():
        audited.found(f"the stored hashes over the first {frontier.size} entries are not those of the entries")


def _check_entry(
    connection: Connection, ring: KeyRing, audited: Audited, place: int, link_no: int, data: bytes
) -> None:
    entry = _decoded(data)
    if entry is None:
        audited.found(f"entry {place} cannot be read")
        return
    if entry.kind not in (LINK, RESULT):
        return
    sealed = _link(connection, link_no) if entry.kind == LINK else _envelope_of(connection, entry)
    if not sealed:
        audited.found(f"entry {place}: its envelope is gone: {_words(entry)}")
        return
    try:
        check_envelope(entry, sealed, ring)
    except (WireError, TrustError) as error:
        audited.found(f"entry {place}: {_words(entry)}: {error}")
    else:
        audited.envelopes += 1


def _check_strays(connection: Connection, audited: Audited) -> None:
    """Records that no entry names, between those that are named: somebody put them in."""
    links, entries = schema.links.c, schema.log_entries.c
    first = connection.execute(select(entries.link_no, entries.entry).order_by(entries.no).limit(1)).first()
    if first is None:
        return
    before = first.link_no - (1 if (entry := _decoded(first.entry)) and entry.kind == LINK else 0)
    stored = connection.execute(select(func.count()).select_from(schema.links).where(links.no > before)).scalar() or 0
    named = connection.execute(
        select(func.count()).select_from(schema.log_entries).where(entries.subject.is_(None))
    ).scalar()
    if stored != named:
        audited.found(f"{stored} records are stored since the log began, it names {named}")


def _envelope_of(connection: Connection, entry: LogEntry) -> bytes:
    """What an entry speaks of, as stored; empty if it is not here or is no envelope."""
    found: Any = None
    if entry.kind == LINK:
        links = schema.links.c
        found = connection.execute(
            select(links.envelope)
            .join(schema.gateways, schema.gateways.c.no == links.gateway_no)
            .where(
                schema.gateways.c.id == entry.gateway,
                links.stream == entry.name,
                links.epoch == entry.epoch,
                links.seq == entry.number,
            )
        ).scalar()
    elif entry.kind == RESULT:
        results = schema.results.c
        found = connection.execute(
            select(results.envelope).where(
                results.gateway == entry.gateway, results.command_id == entry.name, results.kid == entry.who
            )
        ).scalar()
    return found if found is not None and sha256(found).digest() == entry.digest else b""


def _link(connection: Connection, number: int) -> bytes:
    return connection.execute(select(schema.links.c.envelope).where(schema.links.c.no == number)).scalar() or b""


def _decoded(data: bytes | None) -> LogEntry | None:
    try:
        return None if data is None else decode(data, LogEntry)
    except MessageError:
        return None


def _words(entry: LogEntry) -> str:
    if entry.kind == LINK:
        return f"record {entry.number} of epoch {entry.epoch} of {entry.gateway} {entry.name}"
    return f"{entry.kind} {entry.name} of {entry.gateway}"
