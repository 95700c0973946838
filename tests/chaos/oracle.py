"""What must be true after a storm, counted at both ends: in the journals at rest, in the manager's database, at the devices."""

import itertools
import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from agent.wire.envelope import digest, parse
from agent.wire.messages import Batch, StreamHead, decode
from agent.wire.streams import NO_HASH
from tests.chaos.kept import Life
from tests.chaos.plant import COUNTED, GATEWAYS, Level, Plant

ENDINGS = {"done", "refused", "expired", "failed", "unknown"}
GUARD_STARTS_S = 6.0
"""From exec to the first scan, on a machine this busy."""
SCAN_GAP_S_MAX = 2.0
"""A scan each 0.1 s; on two cores that everything else shares, and with the guard's own reconnects."""
RESIDENT_MB_MAX = {"agent": 120.0, "guard": 100.0, "fleet": 220.0, "room": 60.0}
DESCRIPTORS_MAX = {"agent": 60, "guard": 60, "fleet": 80, "room": 60}
SETTLED_S, WINDOW = 5.0, 10
BUSY_MAX = 0.6
"""Of a core, over WINDOW samples, once a process has settled: one that waits for a dead socket in a circle takes all of it."""
LATE_MS = 2_000
ANSWER_MS = 10_000
"""After a command's end: 5 s for its answer, and the manager's beat."""
Marks = dict[str, dict[str, StreamHead]]


@dataclass(slots=True)
class Tally:
    """What was counted; ``str`` is the summary."""

    links: int = 0
    values: int = 0
    events: int = 0
    shown: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    duplicated: int = 0
    scan_gap_s: float = 0.0
    sizes: dict[str, tuple[float, int]] = field(default_factory=dict)
    busiest: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        commands = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        reasons = "".join(f"  {count:4} {reason}\n" for reason, count in self.reasons.most_common())
        sizes = ", ".join(
            f"{name} {mb:.0f} MB {fds} fds {self.busiest[name]:.0%} CPU"
            for name, (mb, fds) in sorted(self.sizes.items())
        )
        return (
            f"links {self.links}: lost {self.lost}, duplicated {self.duplicated}; {self.values} samples, {self.events} "
            f"events; {self.shown} values of the counted point, in order\n"
            f"commands {sum(self.statuses.values())}: {commands}; none carried out twice, none after it was refused\n"
            f"{reasons}"
            f"longest pause between two scans of a guard that lived {self.scan_gap_s:.2f} s\nlargest: {sizes}"
        )


def rows(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask a database that nobody has open."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok", f"{path.name} is damaged"
        return database.execute(query, values).fetchall()


def check_records(plant: Plant, marks: Marks, tally: Tally) -> None:
    """What the gateways sealed is what the manager holds: per stream and epoch, in order, once, byte for byte."""
    query = """SELECT gateways.id, stream, epoch, seq, hash, envelope
               FROM links JOIN gateways ON gateways.no = links.gateway_no ORDER BY links.no"""
    held: dict[tuple[str, str], list[tuple[int, int, bytes, Batch]]] = defaultdict(list)
    for gateway, stream, epoch, seq, found, sealed in rows(plant.folder / "fleet/fleet.db", query):
        assert digest(sealed) == found
        held[gateway, stream].append((epoch, seq, found, decode(parse(sealed).payload, Batch)))
    for gateway in GATEWAYS:
        kept = set(_kept(plant, gateway))
        for stream, mark in marks[gateway].items():
            links = held[gateway, stream]
            tally.links += len(links)
            tally.values += sum(len(batch.values) for *_, batch in links)
            tally.events += sum(len(batch.events) for *_, batch in links)
            numbers = [(epoch, seq) for epoch, seq, *_ in links]
            tally.duplicated += len(numbers) - len(set(numbers))
            _check_chain(f"{gateway} {stream}", links)
            has = {(stream, epoch, seq, found) for epoch, seq, found, _ in links}
            sealed_by_mark = {each for each in kept if each[0] == stream and each[1:3] <= (mark.epoch, mark.seq)}
            tally.lost += len(sealed_by_mark - has)
            assert sealed_by_mark <= has, f"{gateway} {stream}: {len(sealed_by_mark - has)} links are missing"
            assert not mark.seq or (stream, mark.epoch, mark.seq, mark.hash) in has, f"{gateway} {stream}: no {mark}"
            strangers = {each for each in has - kept if each[1:3] > (mark.epoch, mark.seq)}
            assert not strangers, f"{gateway} {stream}: the manager holds what was never sealed: {strangers}"


def _kept(plant: Plant, gateway: str) -> Iterator[tuple[str, int, int, bytes]]:
    for name in ("agent.db", "guard.db"):
        path = plant.folder / gateway / "state" / name
        if path.exists():
            for row in rows(path, "SELECT stream, epoch, seq, hash FROM links"):
                yield row[0], row[1], row[2], row[3]


def _check_chain(where: str, links: Sequence[tuple[int, int, bytes, Batch]]) -> None:
    """In the order they were stored: numbers from 1 without a hole, each naming the hash before it."""
    at: tuple[int, int, bytes] = (0, 0, NO_HASH)
    for epoch, seq, found, batch in links:
        expected = (at[0], at[1] + 1, at[2]) if epoch == at[0] else (epoch, 1, NO_HASH)
        assert epoch >= at[0], f"{where}: epoch {epoch} after {at[0]}"
        assert (epoch, seq, batch.prev) == expected, f"{where}: {epoch}/{seq} does not follow {at[:2]}"
        at = (epoch, seq, found)
    epochs = len({epoch for epoch, *_ in links})
    assert epochs <= 1, f"{where}: nothing here may raise an epoch, there are {epochs}"


def check_point(plant: Plant, tally: Tally) -> None:
    """The counted point: the manager holds values it really had, in the order it had them, up to the last."""
    query = """SELECT samples.value, samples.quality FROM samples JOIN points ON points.no = samples.point_no
               WHERE points.equipment = 'cab-darcy' AND points.name = ? ORDER BY link_no, n"""
    found = rows(plant.folder / "fleet/fleet.db", query, COUNTED)
    shown = [int(json.loads(value)) for value, quality in found if quality == 0]
    tally.shown = len(shown)
    places = {lux: place for place, lux in enumerate(plant.lux)}
    order = [places[lux] for lux in shown]  # KeyError: a value that never was.
    assert order == sorted(order), "the counted point went backwards"
    assert shown[-1] == plant.lux[-1], f"the last value held is {shown[-1]}, the device's {plant.lux[-1]}"


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the manager's table of commands."""

    id: str
    gateway: str
    equipment: str
    verb: str
    args: dict[str, int]
    status: str
    reason: str
    issued_ms: int
    not_after_ms: int
    ended_ms: int


COLUMNS = [each.name for each in fields(Command)]


def check_commands(plant: Plant, answers: Sequence[dict[str, Any]], tally: Tally) -> None:
    """Each command was carried out at most once, and its ending is what the device saw, or an honest "unknown"."""
    fleet = plant.folder / "fleet/fleet.db"
    query = f"SELECT command_{', '.join(COLUMNS)} FROM commands ORDER BY no"
    found = [(*row[:4], json.loads(row[4]), *row[5:]) for row in rows(fleet, query)]
    commands = [Command(**dict(zip(COLUMNS, row, strict=True))) for row in found]
    tally.statuses = Counter(each.status for each in commands)
    tally.reasons = Counter(f"{each.status}: {each.reason}"[:150] for each in commands if each.status != "done")
    now_ms = time.time_ns() // 1_000_000
    late = [each for each in commands if each.status not in ENDINGS and each.not_after_ms + ANSWER_MS < now_ms]
    assert not late, f"not ended: {late}"
    unknown = {each["command_id"] for each in answers} - {each.id for each in commands}
    assert not unknown, f"the manager gave out commands it does not know: {unknown}"
    endings: dict[str, list[str]] = defaultdict(list)
    for kind, detail in rows(fleet, "SELECT kind, detail FROM events WHERE kind LIKE 'command.%' AND seq > 0"):
        endings[str(json.loads(detail).get("command", ""))].append(kind.removeprefix("command."))
    twice = {each: found for each, found in endings.items() if len(found) > 1}
    assert not twice, f"recorded twice: {twice}"
    hidden = [each for each in commands if each.id in endings and endings[each.id] != [each.status]]
    assert not hidden, f"the cabinet's sealed word did not count: {[(each, endings[each.id]) for each in hidden]}"
    _check_plans(plant, commands)
    runs = list(_runs(plant.levels, (time.time_ns() - time.monotonic_ns()) // 1_000_000))
    for each in commands:
        if each.verb == "set-level":
            _check_level(each, runs)


def _runs(levels: Sequence[Level], monotonic_ms: int) -> Iterator[tuple[int, str, int]]:
    """Each time a level was put in the place of another: Unix milliseconds, segment, level.

    Args:
        monotonic_ms: what makes Unix milliseconds of monotonic ones.
    """
    now: dict[int, int] = {}
    for at_s, number, level in levels:
        if now.get(number) != level:
            yield int(at_s * 1000) + monotonic_ms, f"seg-darcy-{number + 1}", level
        now[number] = level


def _check_level(command: Command, runs: Sequence[tuple[int, str, int]]) -> None:
    level = command.args["level_percent"]
    end_ms = command.not_after_ms + 60_000  # The same level is asked for again after minutes.
    seen = [
        at_ms
        for at_ms, segment, found in runs
        if (segment, found) == (command.equipment, level) and command.issued_ms - LATE_MS <= at_ms <= end_ms
    ]
    where = f"{command.id} ({command.equipment} {level} %, {command.status}: {command.reason})"
    assert len(seen) <= 1, f"{where} was carried out {len(seen)} times"
    assert not seen or command.status not in {"refused", "expired"}, f"{where} was carried out all the same"
    assert seen or command.status != "done", f"{where} never reached the lamps"
    assert not seen or seen[0] <= command.not_after_ms + LATE_MS, f"{where} was carried out too late"


def _check_plans(plant: Plant, commands: Sequence[Command]) -> None:
    """Every plan the controller was given was asked for; one that was done was given."""
    sets = plant.signals.controller.control.sets
    given = [each.value for each in sets if each.oid.endswith("4.2.1.4.14.0")]
    asked = Counter(each.args["plan"] for each in commands if each.verb == "select-plan")
    assert set(given) <= {0, *asked}, f"the controller was given {sorted(set(given))}, people asked for {asked}"
    changes = Counter(now for before, now in itertools.pairwise([0, *given]) if now not in {0, before})
    for plan, count in asked.items():
        assert changes[plan] <= count, f"plan {plan} was begun {changes[plan]} times and asked for {count} times"


def check_guard(plant: Plant, until_s: float, tally: Tally) -> None:
    """Whatever else died, a guard that lived and was not frozen went on scanning."""
    for life in plant.programs["guard"].lives:
        frozen = [(a, b or until_s) for a, b in life.frozen]
        for after_s, before_s in itertools.pairwise(
            _alive(life.began_s + GUARD_STARTS_S, life.ended_s or until_s, frozen)
        ):
            moments = [each for each in plant.scans if after_s <= each <= before_s]
            if (after_s, before_s) in frozen or before_s - after_s < SCAN_GAP_S_MAX:
                continue
            gaps = [b - a for a, b in itertools.pairwise([after_s, *moments, before_s])]
            tally.scan_gap_s = max(tally.scan_gap_s, *gaps)
    assert tally.scan_gap_s <= SCAN_GAP_S_MAX, f"the guard did not scan for {tally.scan_gap_s:.1f} s"


def _alive(began_s: float, ended_s: float, frozen: Sequence[tuple[float, float]]) -> list[float]:
    """The moments at which a life changed: its scans begin, it freezes, thaws, ends."""
    inside = [moment for each in frozen for moment in each if began_s < moment < ended_s]
    return sorted({began_s, *inside, ended_s}) if ended_s > began_s else []


def check_processes(plant: Plant, tally: Tally) -> None:
    """Nobody died by itself, complained with a traceback, grew, or ran in a circle."""
    deaths = [each for program in plant.programs.values() for each in program.deaths]
    assert not deaths, f"{deaths}\n{plant.tail()}"
    for name, program in plant.programs.items():
        text = program.log.read_text(errors="replace")
        assert "Traceback" not in text, f"{name}: {text[text.index('Traceback') :][:3000]}"
        kind = name.split()[0].split("-")[0]
        largest = max((mb for life in program.lives for mb in life.rss_mb), default=0.0)
        fds = max((life.fds_max for life in program.lives), default=0)
        tally.sizes[name] = (largest, fds)
        assert largest <= RESIDENT_MB_MAX[kind], f"{name} took {largest:.0f} MB"
        assert fds <= DESCRIPTORS_MAX[kind], f"{name} had {fds} files open"
        busiest = max((rate for life in program.lives for rate in _rates(life)), default=0.0)
        tally.busiest[name] = busiest
        assert busiest <= BUSY_MAX, f"{name} took {busiest:.0%} of a core for seconds"


def _rates(life: Life) -> Iterator[float]:
    """CPU seconds per second, in every window of a life."""
    settled = [each for each in life.cpu if each[0] > life.began_s + SETTLED_S]
    for (began_s, before), (ended_s, after) in zip(settled, settled[WINDOW:], strict=False):
        yield (after - before) / (ended_s - began_s)
