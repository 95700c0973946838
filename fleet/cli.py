"""``armoire-fleet``: run the fleet manager, or ask one that runs.

Exit codes: 0 done, 2 usage, 3 refused, 4 failed or unknown, 5 expired, 6 no manager answers,
130 Ctrl-C, 141 nobody read the output to its end.
"""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from agent.model.identity import is_id
from fleet.cli_document import print_json
from fleet.errors import FleetError
from fleet.page import (
    commands_page,
    equipment_page,
    events_page,
    gateways_page,
    outcome_sentence,
)
from fleet.remote import AnsweredError, Remote, UnreachableError
from fleet.words import read_arguments

USAGE, REFUSED, FAILED, EXPIRED, UNREACHABLE, INTERRUPTED, UNREAD = 2, 3, 4, 5, 6, 130, 141
ENDINGS = {"refused": REFUSED, "failed": FAILED, "unknown": FAILED, "expired": EXPIRED}
URL = "http://127.0.0.1:8080"

Url = Annotated[str, Parameter(env_var="ARMOIRE_FLEET_URL")]
Json = Annotated[bool, Parameter(name="--json", negative="")]

app = App(
    name="armoire-fleet",
    help="The fleet manager of a city's street cabinets.",
    help_format="plaintext",
    help_epilogue="Example: armoire-fleet serve --dir fleet --broker mqtt://127.0.0.1:1883 --http 127.0.0.1:8080",
    result_action="return_value",
)
app.command("fleet.cli_ca:app", name="ca")
app.command("fleet.cli_broker:app", name="broker")
app.command("fleet.cli_enrolment:app", name="enrolment")
app.command("fleet.cli_keys:app", name="keys")
app.command("fleet.cli_audit:app", name="audit")
app.command("fleet.cli_lead:app", name="lead")
app.command("fleet.cli_lead:status", name="status", help_epilogue="Example: armoire-fleet status --json")
app.command("fleet.cli_desired:app", name="desired")


@app.command(
    help_epilogue="Example: armoire-fleet serve --dir fleet --broker mqtt://127.0.0.1:1883 --http 127.0.0.1:8080"
)
def serve(
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    broker: Annotated[tuple[str, ...], Parameter(negative="")] = ("mqtt://127.0.0.1:1883",),
    http: str = "127.0.0.1:8080",
    trust: Path | None = None,
    fleet: str = "control-room",
    listen: Annotated[bool, Parameter(negative="")] = False,
    name: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    store: str = "",
    lease: str = "",
    address: str = "",
    ca: Path | None = None,
    ca_passphrase_file: Path | None = None,
) -> int:
    """Run the manager until SIGTERM or Ctrl-C.

    The console has no login yet: whoever reaches the address can command as any operator whose key is held here.

    Parameters
    ----------
    dir
        Folder of the manager: its database, and for mqtts its tls/ folder.
    broker
        mqtt://host:port or mqtts://host:port; given twice, both brokers are listened to.
    http
        Address of console and API; port 0 takes a free one. "ready URL" is printed once it listens.
    trust
        Folder with roots.toml, keys.sealed, fleet/director.pem and operators/*.pem; the same as --dir if not given.
    fleet
        This manager's id among managers.
    listen
        Let other machines connect. Only behind a proxy that asks for a login.
    name
        With --listen: a host name the console is opened under; may be given several times.
    store
        A database shared with another manager: the file, or its address. Whoever holds the lease in it leads.
    lease
        Where the lease is kept if each of two managers has a database of its own: a file, or a database's address.
    address
        http://host:port under which the other manager and people reach this one; where it listens if not given.
    ca
        Folder of the certificate authority (armoire-fleet ca); without it no gateway can join here.
    ca_passphrase_file
        File of mode 0600 whose first line opens the authority's issuing key.
    """
    import asyncio

    from fleet import server
    from fleet.authority import read_passphrase

    if problem := _misread(http, fleet):
        return _say(problem, USAGE)
    host, _, port = http.rpartition(":")
    server.log_to_stderr()
    passphrase = read_passphrase(ca_passphrase_file)
    where = (host.strip("[]"), int(port), listen, name)
    settings = server.Settings(dir, trust or dir, fleet, broker, *where, ca, passphrase, store, lease, address)
    asyncio.run(server.serve(settings))
    return 0


def _misread(http: str, fleet: str) -> str:
    """What is wrong with what ``serve`` was told, or empty."""
    host, _, port = http.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        return f"--http: expected host:port, found {http!r}"
    if not is_id(fleet):  # It becomes part of topics and client ids, like every id of a site file.
        return f"--fleet: expected 1..40 characters a-z, 0-9 and -, found {fleet[:60]!r}"
    return ""


@app.command(help_epilogue="Example: armoire-fleet gateways --json")
def gateways(*, url: Url = URL, json: Json = False) -> int:
    """Every gateway: its link, backlog and rejections."""
    return _show(Remote(url).get("/api/gateways"), gateways_page, json=json)


@app.command(help_epilogue="Example: armoire-fleet equipment --gateway gw-darcy")
def equipment(*, gateway: str = "", url: Url = URL, json: Json = False) -> int:
    """Every piece of equipment, or one gateway's, with its points."""
    answer: Any = Remote(url).get("/api/district")
    rows = [each for each in answer["equipment"] if gateway in ("", each["gateway"])]
    return _show(rows, equipment_page, json=json)


@app.command(help_epilogue="Example: armoire-fleet events --limit 20 --equipment darcy-bollard")
def events(*, limit: int = 50, gateway: str = "", equipment: str = "", url: Url = URL, json: Json = False) -> int:
    """What happened, newest last."""
    answer: Any = Remote(url).get("/api/events", limit=limit, gateway=gateway, equipment=equipment)
    return _show(answer[::-1], events_page, json=json)


@app.command(help_epilogue="Example: armoire-fleet commands --limit 5")
def commands(*, limit: int = 20, gateway: str = "", url: Url = URL, json: Json = False) -> int:
    """Commands and their outcomes, newest last."""
    answer: Any = Remote(url).get("/api/commands", limit=limit, gateway=gateway)
    return _show(answer[::-1], commands_page, json=json)


@app.command(
    help_epilogue="Example: armoire-fleet send gw-darcy darcy-segment set-level level_percent=60 lease_s=1800 --operator alice"
)
def send(
    gateway: str,
    equipment: str,
    verb: str,
    *args: str,
    operator: str,
    expect: str = "",
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    wait_s: float = 5.0,
    url: Url = URL,
    json: Json = False,
) -> int:
    """Ask a cabinet for something, and say how it ended. The cabinet judges: any verb is passed on.

    Parameters
    ----------

    Args
        Arguments as name=value.
    operator
        Who acts; the manager signs with this operator's key.
    expect
        point=value: refuse unless it is so when the command arrives. A point of this equipment, or equipment/point.
    dry_run
        Check the addressee, show what would be signed and whether what is expected holds now. The verdict is the
        cabinet's, and is not asked for.
    wait_s
        How long to wait for the outcome, 0..60.
    """
    body = {
        "gateway": gateway,
        "equipment": equipment,
        "verb": verb,
        "args": read_arguments(args),
        "operator": operator,
        "dry_run": dry_run,
        "wait_s": wait_s,
    }
    if expect:
        [(point, value)] = read_arguments((expect,)).items()
        body["expect"] = {"point": point, "value": value}
    return _outcome(Remote(url).post("/api/commands", body), json=json)


@app.command(help_epilogue="Example: armoire-fleet approve 5f0c1de2a9b84c7d61e02f3a --operator bruno")
def approve(
    command_id: str,
    *,
    operator: str,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    wait_s: float = 5.0,
    url: Url = URL,
    json: Json = False,
) -> int:
    """Approve a waiting command as a second person, and say how it ended.

    Parameters
    ----------
    dry_run
        Check, show what would be signed, and let it go on waiting.
    wait_s
        How long to wait for the outcome, 0..60.
    """
    if not (command_id.isascii() and command_id.isalnum()):
        return _say(f"{command_id!r} is no command id", USAGE)
    body = {"operator": operator, "dry_run": dry_run, "wait_s": wait_s}
    return _outcome(Remote(url).post(f"/api/commands/{command_id}/approve", body), json=json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A name the terminal cannot show is no reason to fail.
    try:
        ended = int(app(words, exit_on_error=False, print_error=False) or 0)
        _flush()
    except BrokenPipeError:
        return UNREAD  # Who read us has seen enough.
    except CycloptsError as error:
        return _say(f"{error}; see armoire-fleet --help", USAGE)
    except UnreachableError as error:
        return _say(f"{error}. Is it running? Its address is --url or ARMOIRE_FLEET_URL", UNREACHABLE)
    except AnsweredError as error:
        return _say(str(error), REFUSED if error.status in {403, 409} else FAILED if error.status >= 500 else USAGE)
    except FleetError as error:
        return _say(str(error), FAILED)
    except OSError as error:
        return _say(str(error), FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return ended


def _outcome(answer: Any, *, json: bool) -> int:
    _show(answer, outcome_sentence, json=json)
    return ENDINGS.get(answer["status"], 0)


def _show(answer: Any, page: Any, *, json: bool) -> int:
    if json:
        return print_json(answer)
    shown = page(answer)
    if isinstance(shown, str):
        print(shown)
        return 0
    from rich.console import Console

    Console().print(shown)
    return 0


def _flush() -> None:
    """Write out what was printed. If that fails, leave: Python would complain once more when it closes the stream."""
    if sys.stdout is None:  # The caller closed it.
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _say(text: str, code: int) -> int:
    print(f"armoire-fleet: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
