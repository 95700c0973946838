"""Commands that only ask: status, equipment, show, why, log, check."""

import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from agent.cli import document
from agent.cli.ending import Exit, UnreachableError, UsageError
from agent.cli.options import Asking, Json
from agent.cli.words import clean, sentence
from agent.wire.local import GetLog, GetWhy, LogIs, Status, WhyIs

NO_GUARD = "guard: none, as there is nothing under guard here, neither junction nor bollard"

ID = Annotated[str, Parameter(name="ID")]
Count = Annotated[int, Parameter(name=("--number", "-n"), validator=validators.Number(gte=1, lte=500))]

_ASKING = Asking()


def status(*, asking: Asking = _ASKING) -> Exit:
    """Show how the agent and the guard are, what waits for the fleet, and what to know before opening the door."""
    gateway = asking.gateway()
    views: dict[str, Status] = {}
    missing: dict[str, UnreachableError] = {}
    for process in ("agent", "guard"):
        try:
            views[process] = gateway.status(process)
        except UnreachableError as error:
            missing[process] = error
    if not views:
        raise gateway.silent(missing["agent"], missing["guard"])
    if "agent" in missing:
        gateway.say_once("agent is down; showing the guard's view")
    remarks = []
    if "guard" in missing and gateway.guards_nothing():
        del missing["guard"]
        remarks.append(NO_GUARD)
    if asking.json:
        processes = {name: document.status(view) for name, view in views.items()}
        absent = {name: error.what for name, error in missing.items()}
        _print({"agent": None, "guard": None, **processes, "missing": absent})
    else:
        from agent.cli import page

        page.show(page.status(list(views.values()), [error.what for error in missing.values()], remarks))
    return Exit.DONE


def equipment(*, asking: Asking = _ASKING) -> Exit:
    """List the equipment: what it is, what is seen now with quality and age, what is in force."""
    views, seen_by = asking.gateway().equipment()
    if asking.json:
        _print({"seen_by": seen_by, "equipment": [document.equipment(view) for view in views]})
    else:
        from agent.cli import page

        page.show(page.equipment(views))
    return Exit.DONE


def show(id_: ID, /, *, asking: Asking = _ASKING) -> Exit:
    """Show one piece of equipment with every point, its mode and what it obeys.

    Args:
        id_: As `armoire equipment` lists it.
    """
    view, seen_by = asking.gateway().find(id_)
    if asking.json:
        _print({"seen_by": seen_by, "equipment": document.equipment(view)})
    else:
        from agent.cli import page

        page.show(page.sheet(view, _now_ms()))
    return Exit.DONE


def why(id_: ID, /, *, asking: Asking = _ASKING) -> Exit:
    """Tell why equipment is as it is: rule, command, issuer, input and time, newest first.

    Args:
        id_: As `armoire equipment` lists it.
    """
    gateway = asking.gateway()
    gateway.find(id_)
    story, seen_by = gateway.read(GetWhy(id_), WhyIs)
    if asking.json:
        _print(document.why(id_, story, seen_by))
    else:
        from agent.cli import page

        page.show(page.story(id_, story, _now_ms()))
    return Exit.DONE


def log(
    *,
    equipment: Annotated[str, Parameter(name="--equipment")] = "",
    number: Count = 20,
    asking: Asking = _ASKING,
) -> Exit:
    """Print the newest events of the sealed records, newest last.

    Args:
        equipment: Only of this one.
        number: How many, 1..500.
    """
    gateway = asking.gateway()
    if equipment:
        gateway.find(equipment)
    reply, seen_by = gateway.read(GetLog(equipment, number), LogIs)
    if asking.json:
        _print({"seen_by": seen_by, "entries": [document.entry(each) for each in reply.entries]})
    else:
        from agent.cli import page

        page.show(page.log(reply.entries, _now_ms()))
    return Exit.DONE


def check(site: Annotated[Path, Parameter(name="SITE.toml")], /, *, json: Json = False) -> Exit:
    """Check a site file: print every problem in it, or what it describes.

    Args:
        site: The site file.
        json: Print one JSON document and nothing else on standard output.
    """
    from agent.model.site_file import SiteFileError, read_cabinet

    name = clean(str(site))
    try:
        cabinet = read_cabinet(_site_text(site), site.name)
    except SiteFileError as error:
        if json:
            _print({"site": str(site), "problems": list(error.problems)})
        for problem in error.problems:
            print(clean(problem), file=sys.stderr)
        print("The file was not used; correct it and check it again.", file=sys.stderr)
        return Exit.USAGE
    counts: dict[str, int] = {}
    for each in cabinet.site.equipment.values():
        counts[each.kind.value] = counts.get(each.kind.value, 0) + 1
    if json:
        facts = {"city": cabinet.site.city, "gateway": cabinet.site.gateway, "name": cabinet.site.name}
        _print({"site": str(site), "problems": [], **facts, "brokers": cabinet.brokers, "equipment": counts})
    else:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "no equipment"
        print(f"{name}: good. {clean(cabinet.site.gateway)}, {sentence(cabinet.site.name)}")
        print(f"equipment: {kinds}")
        print(f"broker: {clean(', then '.join(cabinet.brokers) or 'none, runs without a fleet')}")
    return Exit.DONE


def _site_text(site: Path) -> str:
    from drivers.errors import TextFileError
    from drivers.textfile import read_text

    try:
        return read_text(site)
    except TextFileError as error:
        raise UsageError(clean(str(error)), advice="a site file is a TOML text that describes one cabinet") from error


def _print(document_: document.Json) -> None:
    print(document.dumps(document_))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
