"""The ledger: sealed streams, command counters and latches of one process.

A record gets its number, its predecessor's hash and its signature in the transaction that stores it: a crash leaves
neither a hole nor a number used twice. Synchronous; call it from one thread at a time. Every writing call returns only
when its transaction is on disk, or joins the one begun by ``atomic``.

    un-acked links      kept until the fleet acknowledged them; of ``state`` and ``tele`` the oldest are shed when the
                        quota is full, and one signed gap record takes their place
    acked links         the newest ``tail_links`` stay for the technician's log
    older epochs        stay beside them as evidence until the tail has moved past, or the quota needs the room
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from agent.ledger import recovery, room, signing, tables
from agent.ledger.errors import LedgerError, UnsealableError
from agent.ledger.linking import (
    PAYLOAD_BYTES_MAX,
    Content,
    Stamp,
    batch_of,
    content_again,
    newest_entries,
    of_events,
    of_samples,
    payload_of,
    stamp_of,
)
from agent.ledger.recovery import Damage
from agent.ledger.stamps import Clock
from agent.ledger.tables import Page, Stand
from agent.ledger.transaction import Transactional, reading
from agent.model.identity import CityId, EquipmentId, GatewayId
from agent.model.observation import ClockQuality, PointValue
from agent.safety.latch import Latch
from agent.wire import envelope
from agent.wire.errors import WireError
from agent.wire.keyfile import Signer
from agent.wire.local import LogEntry
from agent.wire.messages import Event, StreamHead, Value
from agent.wire.streams import (
    EPOCH_MAX,
    NO_HASH,
    AckVerdict,
    Durable,
    Forked,
    Gap,
    Link,
    Superseded,
    judge_ack,
)
from agent.wire.topics import up

TAIL_LINKS = 2_000
"""Acknowledged links kept per stream, so that ``armoire log`` and ``why`` answer without the fleet."""
QUOTA_BYTES = 64 * 2**20
"""Per stream: some days of a large cabinet's changes; five streams fit beside the system on a 1 GB card."""
LOG_LINKS_SCANNED_MAX = 4_000
FLOOR = "floor_ms"
RAISE_INTERVAL_MS = 60_000
"""Two cabinets with one identity fork each other for ever: not faster than this."""


class Ledger(Transactional):
    """One process's memory.

    Args:
        path: the database; its folder must exist.
        streams: the first one, or ``audit`` if there is one, gets the ledger's own events.
        quotas: bytes per stream where QUOTA_BYTES does not fit.

    Raises:
        LedgerBusyError: another process has it open.
        LedgerError: it can neither be opened nor begun anew.
    """

    def __init__(
        self,
        path: Path,
        signer: Signer,
        city: str,
        gateway: str,
        streams: Sequence[str],
        clock: Clock,
        *,
        quotas: Mapping[str, int] | None = None,
        tail_links: int = TAIL_LINKS,
    ) -> None:
        super().__init__()
        self._signer = signer
        self._gateway = gateway
        self._clock = clock
        self._topics = {stream: up(CityId(city), GatewayId(gateway), stream) for stream in streams}
        self._quotas = {stream: (quotas or {}).get(stream, QUOTA_BYTES) for stream in streams}
        self._tail_links = tail_links
        self._raised_at_ms: dict[str, int] = {}
        self.report_stream = "audit" if "audit" in streams else streams[0]
        self._database, torn = recovery.open_sound(path, streams, clock.unix_ms() // 1000)
        try:
            with self.atomic():
                self._load()
                self.damage: Damage | None = recovery.salvage(self, self._database, torn, streams) if torn else None
            if torn:
                self._database = recovery.put_in_place(self._database, torn)
        except LedgerError:
            self._database.close()
            raise

    def close(self) -> None:
        """Fold the write-ahead log into the database and let go of it."""
        with suppress(sqlite3.Error):  # What was committed is in the log, and the next start reads it there.
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(sqlite3.Error):
            self._database.close()

    def append_samples(self, stream: str, samples: Sequence[PointValue]) -> StreamHead:
        """Seal samples into as many links as they need; return the stream's new head.

        Raises:
            LedgerError: nothing is stored.
        """
        stamp = self._stamp()
        return self._append(stream, of_samples(samples, self._clock.unix_ms(), stamp.mono_ms), stamp)

    def append_events(self, stream: str, events: Sequence[Event]) -> StreamHead:
        """Seal events; their ``dt_ms`` counts from now, so 0 is now and -250 a quarter of a second ago.

        Raises:
            LedgerError: nothing is stored.
        """
        stamp = self._stamp()  # First: should the time be learnt in between, the link is re-dated, not believed.
        return self._append(stream, of_events(events, self._clock.unix_ms()), stamp)

    def head(self, stream: str) -> StreamHead:
        """The newest link."""
        return self._stands[stream].head

    def acked(self, stream: str) -> StreamHead:
        """The newest link durable at the fleet; seq 0 if none of this epoch is."""
        return self._stands[stream].acked

    @reading()
    def floor(self, stream: str) -> StreamHead:
        """The newest link of this epoch that is no longer kept; seq 0 if all are."""
        stand = self._stands[stream]
        row = self._database.execute(
            "SELECT first_seq, sealed FROM links WHERE stream=? AND epoch=? ORDER BY seq LIMIT 1", (stream, stand.epoch)
        ).fetchone()
        if row is None:
            return stand.head
        return StreamHead(stream, stand.epoch, row[0] - 1, batch_of(row[1]).prev)

    def size_bytes(self, stream: str) -> int:
        """Bytes of links kept."""
        return self._stands[stream].bytes

    @reading()
    def sealed_after(self, stream: str, epoch: int, seq: int, limit: int) -> list[Link]:
        """Links above ``seq`` of ``epoch``, oldest first; none of an epoch that is over."""
        if epoch != self._stands[stream].epoch:
            return []
        return tables.links_after(self._database, stream, epoch, seq, limit)

    @reading()
    def page(self, stream: str, after: tuple[int, int], limit: int) -> Page:
        """Links of all epochs kept behind one of them, oldest first; ``after`` is its epoch and number, zeros for all."""
        return tables.page_after(self._database, stream, after, limit)

    @reading()
    def hash_at(self, stream: str, epoch: int, seq: int) -> bytes | None:
        """The hash of one link, None if it is not kept."""
        stand = self._stands[stream]
        if (epoch, seq) == (stand.epoch, stand.seq):
            return stand.hash
        return tables.hash_at(self._database, stream, epoch, seq)

    def acknowledged(self, ack: StreamHead) -> AckVerdict:
        """Take in one stream's head from an ack that was verified.

        Durable trims. A fork, or an epoch above ours, begins a new epoch in which everything not acknowledged is
        sealed again, and says so in an event; what does not fit the quota is shed as ever, with a gap record.
        """
        stand = self._stands[ack.stream]
        verdict = judge_ack(ack, stand.head, stand.acked_seq, self.hash_at(ack.stream, ack.epoch, ack.seq))
        match verdict:
            case Durable(seq):
                with self.atomic():
                    stand = self._stands[ack.stream]
                    stand.acked_seq, stand.acked_hash = seq, ack.hash
                    room.trim(self._database, stand, self._tail_links)
                    tables.write_stand(self._database, stand)
            case Forked(reason):
                self.raise_epoch(ack.stream, ack.epoch, f"forked: {reason}")
            case Superseded(epoch):
                self.raise_epoch(
                    ack.stream, epoch, f"the fleet knows epoch {epoch}: this is a restored or copied store"
                )
            case _:
                pass
        return verdict

    def regressed(self, stream: str, seq: int) -> None:
        """The fleet has lost what it acknowledged after ``seq``: count what is still kept as not acknowledged."""
        with self.atomic():
            stand = self._stands[stream]
            floor = self.floor(stream)
            stand.acked_seq = max(min(seq, stand.acked_seq), floor.seq)
            found = self.hash_at(stream, stand.epoch, stand.acked_seq)
            stand.acked_hash = found or (floor.hash if floor.seq == stand.acked_seq else NO_HASH)
            tables.write_stand(self._database, stand)

    def raise_epoch(self, stream: str, above: int, reason: str, after: int | None = None) -> bool:
        """Begin an epoch above ``above`` and the present one; seal again what is kept and not acknowledged.

        Args:
            after: count only links up to this one as acknowledged: the fleet has lost the others.

        Returns:
            False if the last one began less than RAISE_INTERVAL_MS ago: nothing changed, the next ack asks again.
        """
        now_ms = self._clock.now_ms()
        last_ms = self._raised_at_ms.get(stream)
        if last_ms is not None and now_ms - last_ms < RAISE_INTERVAL_MS:
            return False
        with self.atomic():
            old = self._stands[stream]
            after = old.acked_seq if after is None else after
            links = room.links_again(self._database, self._stands, old, after, self._quotas[stream])
            tables.hide_events(self._database, old, after)  # In the log each record shows once: under its new number.
            self.begin_epoch(
                stream, max(above, old.epoch), reason, links, {"from_epoch": old.epoch, "from_seq": old.seq}
            )
        self._raised_at_ms[stream] = now_ms
        return True

    def begin_epoch(
        self,
        stream: str,
        above: int,
        reason: str,
        links: Iterator[bytes],
        detail: dict[str, Value],
    ) -> int:
        """Begin an epoch with an event that says why, then seal ``links`` again; return how many could be read.

        Raises:
            LedgerError: there is no higher epoch; the gateway needs a new identity.
        """
        if above >= EPOCH_MAX:
            raise LedgerError(f"{stream}: epoch {above} is the last there can be")
        with self.atomic():
            size = self._stands[stream].bytes
            self._stands[stream] = Stand(stream, self._epoch_above(above), 0, NO_HASH, 0, NO_HASH, size)
            event = Event(0, "stream.epoch", "", "", f"{stream}: new epoch: {reason}", detail)
            self._seal(stream, of_events([event], self._clock.unix_ms()), self._stamp())
            count = 0
            for sealed in links:
                try:
                    batch = batch_of(sealed)
                except WireError:
                    continue  # Damaged: the caller's event says how many links there were.
                self._seal(stream, iter([content_again(batch)]), stamp_of(batch))
                count += 1
            self._keep_to_quota(stream)  # Not before: what is still to be sealed again must not make room for the rest.
        return count

    @property
    @reading()
    def floor_ms(self) -> int:
        """The newest signed time that was heard and kept; 0 if none was."""
        return tables.read_number(self._database, FLOOR)

    def raise_floor(self, time_ms: int) -> None:
        """Keep a signed time; it never falls."""
        self.raise_number(FLOOR, time_ms)

    def raise_number(self, name: str, least: int) -> None:
        """Keep a number that never falls; on return it is on disk."""
        with self.atomic():
            tables.write_number(self._database, name, max(least, tables.read_number(self._database, name)))

    @property
    @reading()
    def counters(self) -> dict[str, int]:
        """Issuer kid -> newest counter."""
        return tables.read_counters(self._database)

    def raise_counter(self, kid: str, counter: int) -> None:
        """Store an issuer's counter; on return it is on disk and the command may go on."""
        with self.atomic():
            tables.write_counter(self._database, kid, counter)

    @reading()
    def latches(self) -> dict[EquipmentId, Latch]:
        """Every latched fault."""
        return tables.read_latches(self._database)

    def set_latch(self, latch: Latch) -> None:
        """Store one latch; on return it is on disk."""
        with self.atomic():
            tables.write_latch(self._database, latch)

    def clear_latch(self, equipment: EquipmentId) -> None:
        """Remove one latch; on return that is on disk."""
        with self.atomic():
            tables.delete_latch(self._database, equipment)

    def next_number(self, name: str) -> int:
        """Count on by one, such as the starts of a process; a number never comes twice."""
        with self.atomic():
            return tables.raise_number(self._database, name)

    @reading()
    def last_number(self, name: str) -> int:
        """A number as it is kept; 0 if it never was."""
        return tables.read_number(self._database, name)

    @reading()
    def log(self, equipment: str, limit: int) -> list[LogEntry]:
        """The newest events, newest last.

        Args:
            equipment: empty for all.
        """
        return newest_entries(tables.newest_event_links(self._database, LOG_LINKS_SCANNED_MAX), equipment, 0, limit)

    def _append(self, stream: str, contents: Iterator[Content], stamp: Stamp) -> StreamHead:
        with self.atomic():
            self._seal(stream, contents, stamp)
            self._keep_to_quota(stream)
        return self._stands[stream].head

    def _seal(self, stream: str, contents: Iterator[Content], stamp: Stamp) -> None:
        for content in contents:
            self._link(self._stands[stream], content, stamp)

    def _keep_to_quota(self, stream: str) -> None:
        stand = self._stands[stream]
        if stand.bytes > self._quotas[stream]:
            room.make_room(self._database, stand, self._quotas[stream], self._seal_gap)
        tables.write_stand(self._database, stand)

    def _link(self, stand: Stand, content: Content, stamp: Stamp) -> None:
        payload = payload_of(content, self._gateway, stand.head, stamp)
        if len(payload) > PAYLOAD_BYTES_MAX:
            if content.records < 2:
                raise UnsealableError(f"one record of {stand.stream} needs {len(payload)} bytes")
            for half in content.halves():
                self._link(stand, half, stamp)
            return
        sealed = signing.seal(self._signer, payload, self._topics[stand.stream])
        link = Link(stand.seq + 1, envelope.digest(sealed), sealed)
        has_events = bool(content.events)
        tables.insert_link(self._database, stand, link, link.seq, content.counted, has_events=has_events)
        stand.seq, stand.hash = link.seq, link.hash

    def _seal_gap(self, gap: Gap, before: StreamHead) -> bytes:
        (content,) = of_events([gap.event()], self._clock.unix_ms())
        payload = payload_of(content, self._gateway, before, self._stamp())
        return signing.seal(self._signer, payload, self._topics[before.stream])

    def _stamp(self) -> Stamp:
        return Stamp(self._clock.now_ms(), int(self._clock.quality()), self._clock.boot)

    def _epoch_above(self, epoch: int) -> int:
        """Unix seconds where the network keeps the clock: a lost ledger then begins above the epoch it forgot.

        By a clock of its own that is years ahead, an epoch would be refused as absurd, and every one behind it too.
        """
        is_known = self._clock.quality() >= ClockQuality.NETWORK
        return min(EPOCH_MAX, max(epoch + 1, self._clock.unix_ms() // 1000 if is_known else 0))

    def _load(self) -> None:
        for stream in self._topics:
            stand = tables.read_stand(self._database, stream)
            if stand is None:
                stand = Stand(stream, self._epoch_above(0), 0, NO_HASH, 0, NO_HASH, 0)
                tables.write_stand(self._database, stand)
            self._stands[stream] = stand
