"""``armoire journal export`` and ``armoire guard export``: sealed records as they are, in a file anybody can check."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

from cyclopts import Parameter

from agent.cli import document
from agent.cli.ending import Exit, FailedError, UsageError
from agent.cli.guard_log import moment_ms
from agent.cli.journal_file import check_target, opened, progress
from agent.cli.journal_records import STREAMS, Records
from agent.cli.options import Asking
from agent.cli.words import clean
from agent.ledger.linking import batch_of
from agent.wire.blackbox import Header, JournalHeader, Writer
from agent.wire.errors import TrustError, WireError
from agent.wire.messages import SCHEMA, Batch
from agent.wire.streams import Gap, gap_of
from agent.wire.verification import span_words, unvouched
from drivers.errors import TextFileError
from drivers.textfile import read_bytes

KEYS_FILE = Path("keys") / "keys.sealed"
EXPORT_BYTES_MAX = 2**30
"""A gateway keeps some 64 MB of each stream; more than this is no gateway's."""
ATTEMPTS_MAX = 5
"""A gateway that lets go of acknowledged records while they are read does so once in minutes."""
NO_KEYS = "the key list is not in it; whoever checks it needs --keys"
Switch = Annotated[bool, Parameter(negative="")]
Told = Callable[[int], None] | None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Of every export."""

    epoch: int | None = None
    """Only records of this epoch."""
    records: str = ""
    """Only records with these numbers, of the newest epoch or that of --epoch, such as 10..20, 10.. or 17."""
    since: str = ""
    """Only from the first record on that is not older: 2h, 30m, or a time such as 2026-11-23T21:00."""
    force: Switch = False
    """Replace an existing file."""
    dry_run: Switch = False
    """Read everything and say what would be written; write nothing."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which links of a stream: always an unbroken part of it, so that the chain can be checked.

    Args:
        epoch: None for all. first, last: numbers, both included. since_ms: Unix time.
    """

    epoch: int | None = None
    first: int = 0
    last: int = 2**63 - 1
    since_ms: int = 0

    def begins_with(self, batch: Batch) -> bool:
        """True for the first link to be written, and for those behind it that are not ``is_past``."""
        is_there = (self.epoch is None or batch.epoch >= self.epoch) and batch.seq >= self.first
        return is_there and _newest_ms(batch) >= self.since_ms

    def is_past(self, batch: Batch, gap: Gap | None) -> bool:
        """True for the first link behind the last to be written."""
        if self.epoch is not None and batch.epoch > self.epoch:
            return True
        return (batch.seq if gap is None else gap.first) > self.last


def _newest_ms(batch: Batch) -> int:
    """When the newest of a link happened."""
    return batch.t0_ms + max((*batch.dt_ms, *(event.dt_ms for event in batch.events)), default=0)


class _LetGoError(FailedError):
    """The process has let go of records between two pages."""


def export_journal(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    stream: Annotated[list[str] | None, Parameter(name=("--stream", "-s"), negative="")] = None,
    writing: Writing | None = None,
    asking: Asking | None = None,
) -> Exit:
    """Write the agent's sealed records to a file, as they are, with the key list to check them by.

    Asks the agent itself; with the agent down, also on a disk image, its database is read and left as it is: name the
    folder with --state.

    Args:
        file: Where to; an existing file is left alone.
        stream: alarm, state, tele or audit, as often as wanted; all of them if not given.
    """
    chosen = tuple(dict.fromkeys(stream or STREAMS["agent"]))
    if wrong := sorted(set(chosen) - set(STREAMS["agent"])):
        advice = "the guard's own: armoire guard export" if "safety" in wrong else "they are alarm, state, tele, audit"
        raise UsageError(f"the agent keeps no stream {clean(wrong[0])}", "nothing was written", advice)
    return run(file, "agent", chosen, writing or Writing(), asking or Asking())


def run(file: Path, process: str, streams: tuple[str, ...], writing: Writing, asking: Asking) -> Exit:
    """Export streams of one process: several, or the agent's, as a journal file, the guard's as a black box."""
    check_target(file, force=writing.force, dry_run=writing.dry_run)
    records = Records(asking.gateway(), "guard" if process == "guard" else "agent")
    export = Export(records, streams, writing)
    with opened(file, force=writing.force, dry_run=writing.dry_run) as target:
        export.write(target)
    _say(file, export, as_json=asking.json)
    return Exit.DONE


class Export:
    """One file in the making.

    Args:
        streams: in the order in which they are written.
    """

    def __init__(self, records: Records, streams: tuple[str, ...], writing: Writing) -> None:
        self.records = records
        self.streams = streams
        self.writing = writing
        self.parts: list[Writer] = []
        self.bytes = 0

    def write(self, target: BinaryIO) -> None:
        """Write the whole file piece by piece.

        Raises:
            FailedError, UnreachableError: it is not whole.
        """
        try:
            header, kept_bytes = self._header()
            selections = {stream: self._selection(stream) for stream in self.streams}
            if self.records.process == "agent":
                journal = JournalHeader(SCHEMA, header.city, header.gateway, [*self.streams])
                self.bytes = target.write(journal.bytes)
            with progress("reading", kept_bytes) as told:
                for stream, selection in selections.items():
                    part = Header(SCHEMA, header.city, header.gateway, stream, header.key_list)
                    self._part(target, part, selection, told)
        except WireError as error:
            raise FailedError(f"A record is damaged: {clean(str(error))}.", "nothing was written") from error
        if not any(part.records for part in self.parts):
            raise FailedError("There are no such records.", "nothing was written", "see what there is: --dry-run alone")

    def _part(self, target: BinaryIO, header: Header, selection: Selection, told: Told) -> None:
        for attempt in range(ATTEMPTS_MAX):
            target.seek(self.bytes)
            target.truncate()
            writer = Writer(header)
            target.write(writer.begin())
            try:
                for row in self._chosen(header.stream, selection, told):
                    target.write(writer.link(*row))
                    if self.bytes + writer.bytes > EXPORT_BYTES_MAX:
                        raise FailedError(f"There are more than {EXPORT_BYTES_MAX} bytes of records.")
            except _LetGoError:
                if attempt == ATTEMPTS_MAX - 1:
                    raise
                continue
            target.write(writer.end())
            self.parts.append(writer)
            self.bytes += writer.bytes
            return

    def _chosen(self, stream: str, selection: Selection, told: Told) -> Iterator[tuple[int, int, bytes, Gap | None]]:
        """Epoch, number, envelope and gap of every link selected.

        Raises:
            _LetGoError: some in the middle are gone; they were not when we began.
        """
        before, is_begun = (0, 0), False
        for page in self.records.pages(stream):
            for place, (epoch, seq, sealed) in enumerate(page.links):
                batch = batch_of(sealed)
                gap = gap_of(batch)
                if (
                    is_begun
                    and not place
                    and epoch == before[0]
                    and (seq if gap is None else gap.first) > before[1] + 1
                ):
                    what = f"The {self.records.process} lets go of records faster than they are read."
                    raise _LetGoError(what, "nothing was written", "name fewer with --since or --records")
                before = epoch, seq
                if told is not None:
                    told(len(sealed))
                is_begun = is_begun or selection.begins_with(batch)
                if is_begun and selection.is_past(batch, gap):
                    return
                if is_begun:
                    yield epoch, seq, sealed, gap

    def _header(self) -> tuple[Header, int]:
        """Whose records they are, and how many bytes of them there are at most."""
        gateway, kept_bytes = "", 0
        for stream in self.streams:
            for page in self.records.pages(stream):
                kept_bytes += page.kept_bytes
                gateway = gateway or batch_of(page.links[0][2]).gateway
                break
        if not gateway:
            raise FailedError(f"The {self.records.process} has no records.", "nothing was written")
        path = self.records.folder / KEYS_FILE
        try:
            sealed = read_bytes(path)
            return Header(SCHEMA, unvouched(sealed).city, gateway, self.streams[0], sealed), kept_bytes
        except (TextFileError, WireError, TrustError) as error:
            city = self.records.city()
            if not city:
                raise FailedError(
                    f"The key list cannot be used: {clean(str(error))}.",
                    "nothing was written",
                    f"start the {self.records.process}, or use sudo",
                ) from error
            self.records.gateway.tell(f"{clean(str(error))}: {NO_KEYS}")
            return Header(SCHEMA, city, gateway, self.streams[0], b""), kept_bytes

    def _selection(self, stream: str) -> Selection:
        writing = self.writing
        since_ms = moment_ms(writing.since, time.time_ns() // 1_000_000) if writing.since else 0
        epoch, first, last = writing.epoch, 0, 2**63 - 1
        if writing.records:
            first, last = _numbers(writing.records)
            if epoch is None:
                epoch = next((page.newest.epoch for page in self.records.pages(stream)), 0)
        return Selection(epoch, first, last, since_ms)


def _numbers(text: str) -> tuple[int, int]:
    """Read 10..20, 10.., ..20 or 17."""
    first, dots, last = text.strip().partition("..")
    last = last if dots else first
    if all(each == "" or (each.isascii() and each.isdecimal() and len(each) < 19) for each in (first, last)):
        low, high = int(first or 0), int(last or 2**63 - 1)
        if (first or last) and low <= high:
            return low, high
    raise UsageError(f"{clean(text)!r} are no record numbers", "nothing was written", "write 10..20, 10.. or 17")


def _say(file: Path, export: Export, *, as_json: bool) -> None:
    name, dry_run = clean(str(file)), export.writing.dry_run
    first = export.parts[0].header
    total = sum(part.records for part in export.parts)
    if as_json:
        parts = [_part_document(part) for part in export.parts]
        facts = {"file": str(file), "city": first.city, "gateway": first.gateway}
        shown = parts[0] if export.records.process == "guard" else {"streams": parts}
        print(document.dumps({**facts, "records": total, **shown, "bytes": export.bytes, "dry_run": dry_run}))
        return
    done = "would write" if dry_run else "wrote"
    print(f"{done} {name}: {total} records of {clean(first.gateway)}, {export.bytes} bytes.")
    for part in export.parts:
        if not part.records:
            print(f"{part.header.stream}: none")
        for span in part.spans:
            print(f"{part.header.stream}: {span_words(span)}" if len(export.parts) > 1 else span_words(span))
    group = "guard" if export.records.process == "guard" else "journal"
    print("Nothing was written." if dry_run else f"Check it anywhere: armoire {group} verify {name}")


def _part_document(part: Writer) -> dict[str, document.Json]:
    spans: list[document.Json] = [{"epoch": each.epoch, "first": each.first, "last": each.last} for each in part.spans]
    return {"stream": part.header.stream, "records": part.records, "epochs": spans}
