"""What a technician reads on the screen: sentences and tables, nothing of unknown age, nothing that acts on a terminal."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agent.cli.words import clean, duration, moment, reading, scalar, sentence, sentences, who
from agent.model.observation import Quality
from agent.wire.local import EquipmentView, LogEntry, PointView, Status, WhyIs

PIPE_COLUMNS = 160
"""Width when nobody looks: wide enough that a line of a table stays one line for grep."""

HEADLINES = {
    "junction": ("aspects", "pattern"),
    "bollard": ("state",),
    "segment": ("level_percent",),
    "meter": ("power_total", "energy_total"),
}
"""Points worth a column in the list, by kind; of another kind the first two."""
HEADLINES_MAX = 2

MODE_STYLES = {"held": "bold red", "local": "yellow", "autonomous": "cyan"}
QUALITY_STYLES = {Quality.UNCERTAIN: "yellow", Quality.STALE: "dim", Quality.BAD: "red"}


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the edge to end: rich would exit here."""
        raise BrokenPipeError


def show(parts: Iterable[RenderableType]) -> None:
    """Print on standard output; plain and wide when it is not a terminal."""
    console = _Screen(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = _Screen(highlight=False, markup=False, emoji=False, width=PIPE_COLUMNS)
    for part in parts:
        # Down a pipe a sentence stays one line; only tables and indented parts have a width.
        console.print(part, soft_wrap=isinstance(part, Text) and not console.is_terminal)


def status(views: Sequence[Status], missing: Sequence[str], remarks: Sequence[str]) -> Iterable[RenderableType]:
    """Both processes, which one is missing, what else is to be said of them, then how far their records have got, then what a technician should know."""
    first = views[0]
    yield Text(f"{clean(first.gateway)}, {clean(first.name)} ({clean(first.city)})", "bold")
    for view in views:
        yield Text(
            f"{clean(view.process)}: up {duration(view.uptime_ms)}, process {view.pid}, fleet {clean(view.fleet)}"
        )
    for text in missing:
        yield Text(sentence(text), "yellow")
    for text in remarks:
        yield Text(sentence(text))
    for text in dict.fromkeys(text for view in views for text in view.warnings):  # The agent repeats the guard's.
        yield Text(f"warning: {sentence(text)}", "yellow")
    records = _table("stream", "of", "epoch", "sealed", "acknowledged")
    for view in views:
        acked = {(head.stream, head.epoch): head.seq for head in view.acked}
        for head in view.heads:
            done = acked.get((head.stream, head.epoch), 0)
            waiting = f"{done} ({head.seq - done} waiting)" if done < head.seq else f"{done}"
            records.add_row(*map(clean, (head.stream, view.process, str(head.epoch), str(head.seq), waiting)))
    if records.row_count:
        yield records
    figures = _table("figure", "of", "value")
    for view in views:
        for name, value in sorted(view.figures.items()):
            figures.add_row(clean(name), clean(view.process), scalar(value))
    if figures.row_count:
        yield figures


def equipment(views: Sequence[EquipmentView]) -> Iterable[RenderableType]:
    """One line per piece of equipment."""
    if not views:
        yield Text("No equipment.")
        return
    table = _table("id", "kind", "name", "mode", "seen now", "in force", "link")
    for view in views:
        mode = Text(clean(view.mode), MODE_STYLES.get(view.mode, ""))
        if view.latch is not None:
            mode.append(f" (latched by {clean(view.latch.rule)})")
        seen = Text(", ").join(_labelled(each) for each in _headlines(view))
        held = _in_force(view)
        table.add_row(clean(view.id), clean(view.kind), clean(view.name), mode, seen, held, clean(view.link))
    yield table


def sheet(view: EquipmentView, now_ms: int) -> Iterable[RenderableType]:
    """One piece of equipment with every point."""
    yield Text(f"{clean(view.kind)} {clean(view.id)}, {clean(view.name)}", "bold")
    yield Text(
        f"mode: {clean(view.mode)}, {sentences(view.mode_cause, _cleared(view))}", MODE_STYLES.get(view.mode, "")
    )
    if view.latch is not None:
        since = moment(view.latch.since_ms, now_ms)
        yield Text(
            f"latched by {clean(view.latch.rule)} since {since}: "
            f"{sentences(view.latch.reason, 'reset only on site, door open and local key turned')}",
            "bold red",
        )
    if held := _in_force(view):
        yield Text(f"in force: {held}")
    if view.link:
        yield Text(f"link: {clean(view.link)}")
    if view.parent:
        yield Text(f"belongs to: {clean(view.parent)}")
    verbs = f"{', '.join(map(clean, view.verbs))} (judged by the {clean(view.executor)})" if view.verbs else "none"
    yield Text(f"commands: {verbs}")
    if not view.points:
        yield Text("Nothing has been read from it yet.")
        return
    table = _table("point", "value")
    for point in view.points:
        table.add_row(clean(point.name), _reading(point))
    yield table


def story(id_: str, told: WhyIs, now_ms: int) -> Iterable[RenderableType]:
    """The present state, then what led to it, newest first."""
    yield Text(f"{clean(id_)}: {sentence(told.state)}", "bold")
    if not told.because:
        yield Text("Nothing on record led to it: the local plan has run since the records begin.")
    for event in told.because:
        rule = f" by {clean(event.rule)}" if event.rule else ""
        yield Text(f"{moment(event.t_ms, now_ms)}  {clean(event.kind)}{rule}: {sentence(event.text)}")
        fields = ", ".join(f"{clean(name)} {scalar(value)}" for name, value in event.detail.items())
        if fields:
            yield Padding(Text(fields, "dim"), (0, 0, 0, 10))


def log(entries: Sequence[LogEntry], now_ms: int, *, with_who: bool = False) -> Iterable[RenderableType]:
    """Events, newest last; on demand with whoever signed for them."""
    if not entries:
        yield Text("Nothing on record.")
        return
    table = _table("time", "record", "equipment", "kind", "rule", "what", *(("who",) if with_who else ()))
    for event in entries:
        record = f"{clean(event.stream)}/{event.seq}"
        cells = (event.equipment, event.kind, event.rule, event.text, *((who(event),) if with_who else ()))
        table.add_row(moment(event.t_ms, now_ms), record, *map(clean, cells))
    yield table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=False)
    return table


def _cleared(view: EquipmentView) -> str:
    return f"cleared by {view.cleared_by}" if view.cleared_by not in ("", "-") else ""


def _in_force(view: EquipmentView) -> str:
    return clean(view.holding) or ("local plan" if view.verbs else "")


def _headlines(view: EquipmentView) -> list[PointView]:
    by_name = {point.name: point for point in view.points}
    named = [by_name[name] for name in HEADLINES.get(view.kind, ()) if name in by_name]
    return (named or list(view.points))[:HEADLINES_MAX]


def _labelled(point: PointView) -> Text:
    return Text(f"{clean(point.name)} ").append_text(_reading(point))


def _reading(point: PointView) -> Text:
    return Text(reading(point), QUALITY_STYLES.get(Quality(point.quality), ""))
