"""A recorded high-resolution event log of a real junction, as pictures over time.

The two hours that come with the package ``atspm`` (``atspm/data/sample_raw_data.parquet``, device 1136,
2024-04-15 12:00 to 14:00, times in tenths of a second), as observed:

===== ========== ======= ======== ========= ======= ==================================
phase minimum    least   yellow   red       longest greens in the log; who runs with it
      green      green   (always) clearance red
===== ========== ======= ======== ========= ======= ==================================
2     10.0 s     13.9 s  4.0 s    1.5 s      30.6 s 81, with 5 or 6
5     4.0 s      5.5 s   4.0 s    1.5 s     135.4 s 91, with 2
6     10..13 s   10.1 s  4.0 s    1.5 s      46.2 s 98 (three with pedestrians), with 2
8     6.0 s      6.0 s   4.0 s    1.5 s     139.6 s 81, alone
===== ========== ======= ======== ========= ======= ==================================

"Minimum green" is event 3 (minimum complete) after event 1. The junction is no French one: phase 5's
greens are shorter than 6 s, the reds of 5 and 8 longer than 120 s; its site file must say so. The
pedestrians of phase 6 walk 8.0 s and clear 26.0 s, within its green. Only 2+5 and 2+6 are ever lit
together: ring 1 runs 2, ring 2 runs 5 and 6, and 8 stands alone behind the barrier. Every conflicting
green comes at least 5.5 s after the end of the other (yellow and red clearance). Overlap 6 follows
phase 6; overlap 5 is a flashing-arrow section without a green of its own.

The log lost events at three moments (12:38:01 phase 8, 13:12:24 phase 6, 13:31:25 phases 2 and 5): a
yellow end without its beginning, and the like. Yellow there lasted 4.0 s as always; ``repairs`` lists
what was put back. Without the repair the log shows a green that turns red, which no lamp ever did.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from statistics import median

from simulators.signal_controller.aspects import Picture, bit, numbers

DEVICE = 1136
TENTHS = 10
ORDER = (1, 7, 8, 9, 10, 11)  # green begin/end, yellow begin/end, red clearance begin/end
SHOWN = frozenset({*ORDER, 21, 22, 23, 61, 62, 63, 64, 65, 66})
PHASES_MAX = 8


class RecordingError(ValueError):
    """The recording is missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: tenths of a second since its beginning, code, phase or overlap."""

    tenth: int
    code: int
    parameter: int


def _default_path() -> Path:
    spec = find_spec("atspm")
    if spec is None or spec.origin is None:
        raise RecordingError("the recording comes with the package atspm, which is not installed")
    return Path(spec.origin).parent / "data" / "sample_raw_data.parquet"


def read_entries(path: Path | None = None, device: int = DEVICE) -> list[Entry]:
    """Read what lamps showed, in the order of the log.

    Raises:
        RecordingError: no such file, another format, or nothing of that device.
    """
    path = path or _default_path()
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise RecordingError("reading a recording needs the package pyarrow") from error
    try:
        columns = ("TimeStamp", "EventId", "Parameter")
        table = parquet.read_table(path, columns=list(columns), filters=[("DeviceId", "=", device)])
        rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
        kept = [(stamp, int(code), int(parameter)) for stamp, code, parameter in rows if code in SHOWN]
    except (OSError, ArrowException, KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"{path.name} cannot be read: {error}") from error
    if not kept:
        raise RecordingError(f"{path.name} holds nothing of device {device}")
    beginning = min(stamp for stamp, _, _ in kept)
    entries = [
        Entry(round((stamp - beginning).total_seconds() * TENTHS), code, parameter)
        for stamp, code, parameter in kept
        if 1 <= parameter <= PHASES_MAX
    ]
    return sorted(entries, key=lambda entry: entry.tenth)


def repair(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Put back what the log lost of each phase's order; return all entries, and those put back."""
    entries = list(entries)
    yellow, clearance = _usual(entries, 8, 9), _usual(entries, 10, 11)
    last: dict[int, Entry] = {}
    added: list[Entry] = []
    for entry in entries:
        if entry.code not in ORDER:
            continue
        previous = last.get(entry.parameter)
        last[entry.parameter] = entry
        # A phase without an entry before starts wherever the log begins.
        while previous is not None and (code := _following(previous.code)) != entry.code:
            if previous.code == 1:  # When the green ended is known from what came after it.
                tenth = entry.tenth - {8: 0, 9: yellow, 10: yellow}.get(entry.code, yellow + clearance)
            elif previous.code == 11:  # A green nobody saw begin: as short as can be.
                tenth = entry.tenth
            else:
                tenth = previous.tenth + {8: yellow, 10: clearance}.get(previous.code, 0)
            previous = Entry(min(tenth, entry.tenth), code, entry.parameter)
            added.append(previous)
    merged = sorted([*entries, *added], key=lambda entry: entry.tenth)
    return merged, added


def _following(code: int) -> int:
    return ORDER[(ORDER.index(code) + 1) % len(ORDER)]


def _usual(entries: list[Entry], begin: int, end: int) -> int:
    """The usual time between two codes of the same phase, in tenths."""
    since: dict[int, int] = {}
    lengths = []
    for entry in entries:
        if entry.code == begin:
            since[entry.parameter] = entry.tenth
        elif entry.code == end and entry.parameter in since:
            lengths.append(entry.tenth - since.pop(entry.parameter))
    return round(median(lengths)) if lengths else 0


@dataclass(frozen=True, slots=True)
class Overlap:
    """A green that never was: ``phase`` lit for ``duration_s`` from ``at_s`` on, whatever else is green."""

    at_s: float
    phase: int
    duration_s: float


class Recording:
    """What the junction showed, moment by moment. Times in seconds since the log's beginning."""

    def __init__(self, entries: Iterable[Entry], repaired: bool = True) -> None:
        listed = list(entries)
        if not listed:
            raise RecordingError("the recording is empty")
        merged, self.repairs = repair(listed) if repaired else (listed, [])
        self.phases = sorted({entry.parameter for entry in merged if entry.code in ORDER})
        self.pedestrian_phases = sorted({entry.parameter for entry in merged if entry.code in (21, 22, 23)})
        self._moments: list[int] = []
        self._pictures: list[Picture] = []
        for tenth, picture in self._compile(merged):
            self._moments.append(tenth)
            self._pictures.append(picture)
        self._overlaps: list[tuple[int, int, int]] = []
        self.end_s = self._moments[-1] / TENTHS

    @classmethod
    def load(cls, path: Path | None = None, repaired: bool = True) -> "Recording":
        """Read the recorded junction. Raises RecordingError."""
        return cls(read_entries(path), repaired)

    def _compile(self, entries: list[Entry]) -> Iterator[tuple[int, Picture]]:
        everyone = sum(bit(phase) for phase in self.phases)
        peds = sum(bit(phase) for phase in self.pedestrian_phases)
        greens, yellows = self._at_first(entries)
        picture = Picture(reds=everyone & ~greens & ~yellows, yellows=yellows, greens=greens, dont_walks=peds)
        for tenth, group in groupby(entries, key=lambda entry: entry.tenth):
            for entry in group:
                picture = _after(picture, entry)
            yield tenth, replace(picture, phases_on=picture.greens | picture.yellows)

    def _at_first(self, entries: list[Entry]) -> tuple[int, int]:
        """What was lit before the log began, from the first thing each phase did in it."""
        greens = yellows = 0
        seen: set[int] = set()
        for entry in entries:
            if entry.code in ORDER and entry.parameter not in seen:
                seen.add(entry.parameter)
                greens |= bit(entry.parameter) if entry.code in (7, 8) else 0
                yellows |= bit(entry.parameter) if entry.code in (9, 10) else 0
        return greens, yellows

    def event_times(self) -> list[float]:
        """Return every moment at which something changes, spliced greens included, in order."""
        spliced = {tenth for start, end, _ in self._overlaps for tenth in (start, end)}
        return [tenth / TENTHS for tenth in sorted({*self._moments, *spliced})]

    def at(self, time_s: float) -> Picture:
        """Return what was shown at a moment."""
        tenth = int(time_s * TENTHS + 1e-6)
        picture = self._pictures[max(0, bisect_right(self._moments, tenth) - 1)]
        for start, end, phase in self._overlaps:
            if start <= tenth < end:
                mask = bit(phase)
                reds, yellows = picture.reds & ~mask, picture.yellows & ~mask
                picture = replace(picture, greens=picture.greens | mask, reds=reds, yellows=yellows)
        return picture

    def splice(self, overlap: Overlap) -> None:
        """Inject one overlapping green.

        Raises:
            RecordingError: outside the log, no such phase, or the phase is not red at that moment.
        """
        if not 0 <= overlap.at_s < self.end_s or not 0 < overlap.duration_s <= self.end_s - overlap.at_s:
            raise RecordingError(f"{overlap} lies outside the log of {self.end_s:.1f} s")
        if overlap.phase not in self.phases or not self.at(overlap.at_s).reds & bit(overlap.phase):
            raise RecordingError(f"phase {overlap.phase} is not red at {overlap.at_s:.1f} s; phases: {self.phases}")
        start = round(overlap.at_s * TENTHS)
        self._overlaps.append((start, start + round(overlap.duration_s * TENTHS), overlap.phase))

    def concurrent_pairs(self) -> set[tuple[int, int]]:
        """Return the pairs of phases that are ever green or yellow together."""
        pairs = set()
        for time_s in self.event_times():
            picture = self.at(time_s)
            lit = numbers(picture.greens | picture.yellows)
            pairs |= {(a, b) for a in lit for b in lit if a < b}
        return pairs


def _after(picture: Picture, entry: Entry) -> Picture:
    """The picture after one entry."""
    mask = bit(entry.parameter)
    off = ~mask
    match entry.code:
        case 1:
            return replace(
                picture, greens=picture.greens | mask, yellows=picture.yellows & off, reds=picture.reds & off
            )
        case 8:
            return replace(
                picture, greens=picture.greens & off, yellows=picture.yellows | mask, reds=picture.reds & off
            )
        case 9 | 10 | 11:
            return replace(
                picture, greens=picture.greens & off, yellows=picture.yellows & off, reds=picture.reds | mask
            )
        case 21:
            return replace(picture, walks=picture.walks | mask, dont_walks=picture.dont_walks & off)
        case 22:
            return replace(picture, walks=picture.walks & off, ped_clears=picture.ped_clears | mask)
        case 23:
            cleared = picture.ped_clears & off
            return replace(picture, walks=picture.walks & off, ped_clears=cleared, dont_walks=picture.dont_walks | mask)
    greens, yellows, reds = picture.overlap_greens & off, picture.overlap_yellows & off, picture.overlap_reds & off
    greens |= mask if entry.code in (61, 62) else 0
    yellows |= mask if entry.code == 63 else 0
    reds |= mask if entry.code in (64, 65) else 0
    if entry.code < 61:
        return picture
    return replace(picture, overlap_greens=greens, overlap_yellows=yellows, overlap_reds=reds)
