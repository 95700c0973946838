"""``armoire``: the technician's command, and the door of the gateway's own processes.

Commands are imported when they are typed, so that ``armoire --help`` answers at once. Whatever goes wrong outside of
this program leaves it as sentences and an exit code; a traceback is always a bug of ours.
"""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from agent.cli.ending import Exit, TechnicianError, UsageError
from agent.cli.words import sentences
from agent.wire.errors import TrustError, WireError

AFTER_FAULT = "if a command was under way, `armoire log` tells its outcome"

SitePath = Annotated[Path, Parameter(name="SITE.toml")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name the terminal cannot show is no reason to fail
    try:
        ended = application()(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return int(ended or 0)
    except BrokenPipeError:
        # Who read us has seen enough; Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except TechnicianError as error:
        return _tell(error, words)
    except CycloptsError as error:
        return _tell(UsageError(str(error), advice=f"see `{_help_of(words)}`"), words)
    except (WireError, TrustError) as error:
        return _tell(UsageError(str(error), "nothing was sent"), words)
    except OSError as error:
        return _tell(TechnicianError(f"the system said: {error}", advice=AFTER_FAULT), words)


def application() -> App:
    """Every command there is. Help texts stand here so that listing them imports nothing."""
    app = App(
        name="armoire",
        help="Look into a street cabinet and command its equipment, under the same rules as everybody else.",
        help_format="plaintext",
        help_epilogue=_example("armoire status --state build/run/gw-darcy", "armoire lamp set seg-darcy 60 --for 30m"),
        version=_version,
        result_action="return_value",
    )
    reading, writing = "agent.cli.reading", "agent.cli.writing"
    _add(
        app,
        "status",
        f"{reading}:status",
        "How agent and guard are, and how far the fleet has their records.",
        "armoire status --json",
    )
    _add(app, "equipment", f"{reading}:equipment", "List the equipment with what is seen now.", "armoire equipment")
    _add(app, "show", f"{reading}:show", "One piece of equipment with every point.", "armoire show bollard-1")
    _add(
        app,
        "why",
        f"{reading}:why",
        "Why it is as it is: rule, command, issuer, input and time.",
        "armoire why bollard-1",
    )
    _add(
        app,
        "log",
        f"{reading}:log",
        "The newest events of the sealed records.",
        "armoire log --equipment bollard-1 -n 50",
    )

    lamp = _group(
        app, "lamp", "Hold lighting segments at a level, or let them go.", "armoire lamp set seg-darcy 60 --for 30m"
    )
    set_level = "armoire lamp set seg-darcy 60 --for 30m"
    _add(lamp, "set", f"{writing}:set_level", "Hold a segment at a level until the lease ends.", set_level)
    _add(
        lamp,
        "release",
        f"{writing}:release_level",
        "Give a segment back to its local plan.",
        "armoire lamp release seg-darcy",
    )
    bollard = _group(app, "bollard", "Lower or raise bollards.", "armoire bollard lower bollard-1")
    _add(bollard, "lower", f"{writing}:lower", "Lower a bollard.", "armoire bollard lower bollard-1")
    _add(
        bollard,
        "raise",
        f"{writing}:raise_",
        "Raise a bollard; refused unless both loops are seen free.",
        "armoire bollard raise bollard-1 --dry-run",
    )
    junction = _group(
        app,
        "junction",
        "Select a plan, ask for yellow flash, or let a junction go.",
        "armoire junction plan j-darcy 2 --for 30m",
    )
    _add(
        junction,
        "plan",
        f"{writing}:plan",
        "Run a commissioned signal plan until the lease ends.",
        "armoire junction plan j-darcy 2 --for 30m",
    )
    _add(
        junction,
        "flash",
        f"{writing}:flash",
        "Ask for yellow flash; needs you at the open cabinet, local key turned.",
        "armoire junction flash j-darcy --for 10m --dry-run",
    )
    _add(
        junction,
        "release",
        f"{writing}:release",
        "Give a junction back to its controller's own plan.",
        "armoire junction release j-darcy",
    )
    _add(
        app,
        "reset",
        f"{writing}:reset",
        "Clear a latched fault; only at the open cabinet, local key turned.",
        "armoire reset j-darcy",
    )
    submit = "armoire submit j-darcy set_green group=2"
    _add(
        app,
        "submit",
        f"{writing}:submit_any",
        "Sign and send any verb as typed, and see what the cabinet says.",
        submit,
    )

    _add(
        app,
        "check",
        f"{reading}:check",
        "Check a site file and print every problem in it.",
        "armoire check configs/site.toml",
    )
    for function, text in (
        (run, "Run guard and agent of one site until Ctrl-C."),
        (guard, "Run the guard alone, as its systemd unit does."),
        (agent, "Run the agent alone, as its systemd unit does."),
    ):
        name = function.__name__
        app.command(function, name=name, help=text, help_epilogue=_example(f"armoire {name} site.toml"))
    return app


def run(site: SitePath, /) -> int:
    """Run guard and agent of one site until Ctrl-C.

    Args:
        site: The site file.
    """
    from agent.cli.run import run as run_both

    return run_both(site)


def guard(site: SitePath, /) -> int:
    """Run the guard alone, as its systemd unit does.

    Args:
        site: The site file.
    """
    from agent.cli.run import run_guard

    return run_guard(site)


def agent(site: SitePath, /) -> int:
    """Run the agent alone, as its systemd unit does.

    Args:
        site: The site file.
    """
    from agent.cli.run import run_agent

    return run_agent(site)


def _add(app: App, name: str, place: str, text: str, example: str) -> None:
    app.command(place, name=name, help=text, help_epilogue=_example(example))


def _group(app: App, name: str, text: str, example: str) -> App:
    group = App(name=name, help=text, help_epilogue=_example(example))
    app.command(group)
    return group


def _example(*lines: str) -> str:
    return "\n".join(("Example:", *(f"  {line}" for line in lines)))


def _help_of(words: Sequence[str]) -> str:
    """The help of the longest command that was typed right."""
    app, path = application(), ["armoire"]
    for word in words:
        if word.startswith("-") or word not in app:
            break
        app = app[word]
        path.append(word)
    return " ".join((*path, "--help"))


def _tell(error: TechnicianError, words: Sequence[str]) -> int:
    if "--json" in words:
        from agent.cli import document

        print(document.dumps(document.failure(error)))
    print(f"armoire: {sentences(error.what, error.state, error.advice)}", file=sys.stderr)
    return error.exit


def _version() -> str:
    from importlib.metadata import version

    return version("armoire")
