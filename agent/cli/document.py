"""JSON documents: one per command, keys that stay. What is on the wire may be renamed; these may not.

Keys are listed in docs/technician.md. Qualities are words, times are Unix milliseconds, bytes are hexadecimal.
"""

import json
from collections.abc import Mapping, Sequence

from agent.cli.ending import Exit, TechnicianError
from agent.cli.words import finite, quality
from agent.wire.local import EquipmentView, LogEntry, PointView, Status, WhyIs
from agent.wire.messages import Outcome, StreamHead, Value

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


def dumps(document: Json) -> str:
    """Encode in ASCII: no name in it can act on a terminal."""
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False)


def point(view: PointView) -> Json:
    """One point."""
    return {
        "name": view.name,
        "value": finite(view.value),
        "quality": quality(view.quality),
        "t_ms": view.t_ms,
        "age_ms": view.age_ms,
    }


def equipment(view: EquipmentView) -> Json:
    """One piece of equipment."""
    latch: Json = None
    if view.latch is not None:
        latch = {"rule": view.latch.rule, "reason": view.latch.reason, "since_ms": view.latch.since_ms}
    return {
        "id": view.id,
        "kind": view.kind,
        "name": view.name,
        "latitude": finite(view.latitude),
        "longitude": finite(view.longitude),
        "parent": view.parent or None,
        "executor": view.executor or None,
        "verbs": list(view.verbs),
        "mode": view.mode,
        "mode_cause": view.mode_cause,
        "cleared_by": view.cleared_by,
        "latch": latch,
        "holding": view.holding,
        "link": view.link,
        "points": [point(each) for each in view.points],
    }


def status(view: Status) -> Json:
    """One process."""
    return {
        "process": view.process,
        "gateway": view.gateway,
        "city": view.city,
        "name": view.name,
        "pid": view.pid,
        "uptime_ms": view.uptime_ms,
        "fleet": view.fleet,
        "counters": dict(view.counters),
        "heads": [_head(each) for each in view.heads],
        "acked": [_head(each) for each in view.acked],
        "figures": _values(view.figures),
        "warnings": list(view.warnings),
    }


def entry(event: LogEntry) -> dict[str, Json]:
    """One event."""
    return {
        "t_ms": event.t_ms,
        "stream": event.stream,
        "seq": event.seq,
        "kind": event.kind,
        "equipment": event.equipment or None,
        "rule": event.rule or None,
        "text": event.text,
        "detail": _values(event.detail),
    }


def why(id_: str, story: WhyIs, seen_by: str) -> Json:
    """What led to the present state, newest first."""
    return {
        "seen_by": seen_by,
        "id": id_,
        "state": story.state,
        "because": [entry(each) for each in story.because],
    }


def outcome(ended: Outcome, exit_: Exit, *, dry_run: bool) -> Json:
    """How a command ended."""
    return {
        "command_id": ended.command_id,
        "gateway": ended.gateway,
        "equipment": ended.equipment,
        "verb": ended.verb,
        "issuer": ended.issuer,
        "dry_run": dry_run,
        "ended": ended.ended,
        "rule": ended.rule or None,
        "reason": ended.reason,
        "state": ended.state,
        "t_ms": ended.t_ms,
        "exit": int(exit_),
    }


def failure(error: TechnicianError) -> Json:
    """What went wrong instead of an answer."""
    return {"error": {"what": error.what, "state": error.state, "advice": error.advice, "exit": int(error.exit)}}


def _head(head: StreamHead) -> Json:
    return {"stream": head.stream, "epoch": head.epoch, "seq": head.seq, "hash": head.hash.hex()}


def _values(values: Mapping[str, Value]) -> dict[str, Json]:
    return {name: finite(value) for name, value in values.items()}
