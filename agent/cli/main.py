"""``armoire``: the technician's command, and the door of the gateway's own processes.

Commands are imported when they are typed, so that ``armoire --help`` answers at once. Whatever goes wrong outside of
this program leaves it as sentences and an exit code; a traceback is always a bug of ours.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from cyclopts import App, CycloptsError

from agent.cli.commands import COMMANDS, GROUPS, example
from agent.cli.ending import Exit, TechnicianError, UsageError
from agent.cli.words import sentences
from agent.wire.errors import TrustError, WireError

SHARED_OPTIONS = {"--state": 2, "--key": 2, "--json": 1, "--dry-run": 1}
"""Options of ``agent.cli.options`` and how many words each takes, its value included."""
AFTER_FAULT = "if a command was under way, `armoire log` tells its outcome"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = options_last(sys.argv[1:] if arguments is None else arguments)
    if sys.stdout is None:  # The caller closed it: what was asked happens all the same.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name the terminal cannot show is no reason to fail
    try:
        ended = application()(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return int(ended or 0)
    except BrokenPipeError:
        _leave_stdout()  # Who read us has seen enough.
        return Exit.UNREAD
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


def options_last(words: Sequence[str]) -> list[str]:
    """Move shared options typed before the command behind it: ``armoire --state DIR status`` reads well too."""
    rest, options = list(words), []
    while rest and rest[0].partition("=")[0] in SHARED_OPTIONS:  # Ends with the words.
        taken = SHARED_OPTIONS.get(rest[0], 1)  # ``--key=FILE`` is one word
        options += rest[:taken]
        del rest[:taken]
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *options, *rest[end:]]


def application() -> App:
    """Every command there is."""
    app = App(
        name="armoire",
        help="Look into a street cabinet and command its equipment, under the same rules as everybody else.",
        help_format="plaintext",
        help_epilogue=example("armoire --state build/run/gw-darcy/state status", "armoire lamp set --help"),
        version=_version,
        result_action="return_value",
    )
    for name, text in GROUPS.items():
        shown = next(entry.example for entry in COMMANDS if entry.words[0] == name)
        app.command(App(name=name, help=text, help_epilogue=example(shown)))
    for entry in COMMANDS:
        *group, name = entry.words
        if not group and name in GROUPS:
            app[name].default(_resolved(entry.function))  # A group that is a command too: `armoire guard SITE.toml`.
            continue
        place = app[group[0]] if group else app
        place.command(entry.function, name=name, help=entry.help, help_epilogue=example(entry.example))
    return app


def _resolved(name: str) -> Callable[..., object]:
    module, _, function = name.partition(":")
    found: Callable[..., object] = getattr(import_module(module), function)
    return found


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
    try:
        if "--json" in words:
            from agent.cli import document

            print(document.dumps(document.failure(error)))
        sys.stdout.flush()
    except OSError:
        _leave_stdout()  # A full disk behind it may be the very error we tell.
    print(f"armoire: {sentences(error.what, error.state, error.advice)}", file=sys.stderr)
    return error.exit


def _leave_stdout() -> None:
    """Nothing more can be written there; Python would complain once more when it closes the stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version() -> str:
    from importlib.metadata import version

    return version("armoire")
