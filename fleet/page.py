"""What the command line prints for a person. API answers in, tables and sentences out."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[Mapping[str, Any]]
QUALITIES = ("good", "uncertain", "stale", "bad")


def gateways_page(rows: Rows) -> "Table":
    """One line per gateway."""
    return _table(
        ("gateway", "name", "link", "last heard", "clock", "mode", "backlog", "rejected", "software"),
        [
            (
                row["id"],
                row["name"],
                row["link"],
                clock(row["last_seen_ms"]),
                row.get("clock", ""),
                row["mode"],
                row["backlog"],
                row["rejected"],
                row["software"],
            )
            for row in rows
        ],
    )


def equipment_page(rows: Rows) -> "Table":
    """One line per piece of equipment."""
    return _table(
        ("gateway", "equipment", "kind", "name", "link", "mode", "points"),
        [
            (
                row["gateway"],
                row["id"],
                row["kind"],
                row["name"],
                row["link"],
                _mode(row),
                ", ".join(f"{name} {value(point)}" for name, point in row["points"].items()),
            )
            for row in rows
        ],
    )


def events_page(rows: Rows) -> "Table":
    """One line per event."""
    return _table(
        ("time", "gateway", "equipment", "kind", "rule", "text"),
        [(when(row), row["gateway"], row["equipment"], row["kind"], row["rule"], row["text"]) for row in rows],
    )


def commands_page(rows: Rows) -> "Table":
    """One line per command."""
    return _table(
        ("time", "command", "gateway", "equipment", "asked", "by", "outcome"),
        [
            (
                clock(row["issued_ms"]),
                row["command_id"],
                row["gateway"],
                row["equipment"],
                asked(row),
                ", ".join([row["operator"], *row["approvers"]]),
                outcome_sentence(row, with_id=False),
            )
            for row in rows
        ],
    )


def asked(row: Mapping[str, Any]) -> str:
    """``raise, expecting bollard-rameau/state = down``."""
    words = " ".join([row["verb"], *(f"{name}={value}" for name, value in row["args"].items())])
    expected = row["expect"]
    return f"{words}, expecting {expected['point']} = {expected['value']}" if expected else words


def outcome_sentence(row: Mapping[str, Any], *, with_id: bool = True) -> str:
    """``refused by SR-19: loop A is occupied. The bollard stays down.``"""
    rule = f" by {row['rule']}" if row["rule"] else ""
    about = ". ".join(text.rstrip(".") for text in (row["reason"], row["state"]) if text)
    sentence = f"{row['status'].replace('-', ' ')}{rule}" + (f": {about}." if about else "")
    if with_id and row["status"] in {"awaiting-approval", "sent"}:
        sentence += f" Command {row['command_id']}."
    return sentence


def value(point: Mapping[str, Any]) -> str:
    """A value, never without a word if it is not good."""
    quality = point["quality"]
    shown = "no value" if point["value"] is None else str(point["value"])
    return shown if quality == 0 else f"{shown} ({QUALITIES[quality]} {point['age_ms'] // 1000} s)"


def when(row: Mapping[str, Any]) -> str:
    """When it happened, as far as its cabinet knew the time."""
    match row.get("time"), row.get("within_ms", 0):
        case "unknown", _:
            return f"start + {row['t_ms'] // 1000} s"
        case "re-dated", within_ms if within_ms >= 0:
            return f"{clock(row['t_ms'])} ± {within_ms / 1000:.1f} s"
        case (("re-dated" | "own clock"), _):
            return f"{clock(row['t_ms'])} by its own clock"
    return clock(row["t_ms"])


def clock(t_ms: int) -> str:
    """Local time, with the date if it is not today's."""
    if not t_ms:
        return "never"
    try:
        then = time.localtime(t_ms / 1000)
    except (OverflowError, ValueError, OSError):
        return "no such time"
    is_today = time.strftime("%F", then) == time.strftime("%F")
    return time.strftime("%T" if is_today else "%F %T", then)


def _mode(row: Mapping[str, Any]) -> str:
    latch = row["latch"]
    return f"{row['mode']} (latched by {latch['rule']}: {latch['reason']})" if latch else str(row["mode"])


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return table


def printable(text: str) -> str:
    """Text from a cabinet without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
