"""``armoire-fleet lead`` and ``status``: which manager leads, and handing over by a person's decision."""

import time
from datetime import datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from fleet.cli_document import print_json
from fleet.remote import Remote

URL = "http://127.0.0.1:8080"
STEP_S = 0.1
FAILED = 4

Url = Annotated[str, Parameter(env_var="ARMOIRE_FLEET_URL")]
Json = Annotated[bool, Parameter(name="--json", negative="")]
DryRun = Annotated[bool, Parameter(negative="")]

app = App(
    name="lead",
    help="Which of two managers leads: take it, or give it up. Said with a reason, and recorded.",
    help_epilogue='Example: armoire-fleet lead yield --operator alice --reason "new disks in the control room"',
)


@app.command(
    help_epilogue='Example: armoire-fleet lead take --operator alice --reason "the control room is being evacuated"'
)
def take(
    *, operator: str, reason: str, dry_run: DryRun = False, wait_s: float = 15.0, url: Url = URL, json: Json = False
) -> int:
    """Let the manager at --url lead. The one that leads now finishes what it is storing, and gives it up.

    Parameters
    ----------
    reason
        Kept in the events and in the log.
    dry_run
        Say what would happen, and change nothing.
    wait_s
        How long to wait until it is so, 0..60.
    """
    return _ask("take", "leading", operator, reason, dry_run=dry_run, wait_s=wait_s, url=url, json=json)


@app.command(
    name="yield",
    help_epilogue='Example: armoire-fleet lead yield --operator alice --reason "new disks in the control room" --dry-run',
)
def yield_(
    *, operator: str, reason: str, dry_run: DryRun = False, wait_s: float = 15.0, url: Url = URL, json: Json = False
) -> int:
    """Let the manager at --url lead no longer. If no other takes the lead within 10 s, it takes it back.

    Parameters
    ----------
    reason
        Kept in the events and in the log.
    dry_run
        Say what would happen, and change nothing.
    wait_s
        How long to wait until another one leads, 0..60.
    """
    return _ask("yield", "standby", operator, reason, dry_run=dry_run, wait_s=wait_s, url=url, json=json)


def status(*, url: Url = URL, json: Json = False) -> int:
    """How a manager is: whether it leads or stands by, since when, how far behind, and what is wrong."""
    answer: Any = Remote(url).get("/api/health")
    if json:
        return print_json(answer)
    since = datetime.fromtimestamp(answer["since_ms"] / 1000).astimezone()
    print(f"{answer['fleet']}: {answer['role']} since {since:%Y-%m-%d %H:%M:%S}, {_led(answer)}")
    print(f"{answer['gateways_up']} gateways up, {answer['gateways_lost']} lost; {_behind(answer)}")
    print(f"store {answer['store']}, broker {answer['broker']}, arrangement {answer['arrangement']}")
    if answer["detail"]:
        print(f"{answer['status']}: {answer['detail']}")
    return 0


def _led(answer: Any) -> str:
    if answer["role"] == "leading":
        return f"term {answer['term']}"
    if not answer["leader"]:
        return "no manager is known to lead"
    where = f" at {answer['leader_url']}" if answer["leader_url"] else ""
    return f"{answer['leader']} leads{where}, term {answer['leader_term']}"


def _behind(answer: Any) -> str:
    return (
        f"{answer['behind']} batches announced and not stored" if answer["behind"] else "nothing announced is missing"
    )


def _ask(
    action: str, role: str, operator: str, reason: str, *, dry_run: bool, wait_s: float, url: str, json: bool
) -> int:
    remote = Remote(url)
    answer: Any = remote.post(
        "/api/lead", {"action": action, "operator": operator, "reason": reason, "dry_run": dry_run}
    )
    if dry_run:
        return print_json(answer) if json else _say(answer["text"])
    end_s = time.monotonic() + min(60.0, max(0.0, wait_s))
    while True:  # Until it is so, or time is over.
        now: Any = remote.get("/api/health")
        is_done = now["role"] == role and (role == "leading" or now["leader"] not in ("", now["fleet"]))
        if is_done or time.monotonic() > end_s:
            break
        time.sleep(STEP_S)
    if json:
        print_json(now)
    else:
        _say(f"{now['fleet']} {'leads' if now['role'] == 'leading' else 'stands by'}: {_led(now)}")
        if not is_done:
            _say(f"not what was asked for, after {wait_s:g} s. {answer['text']}")
    return 0 if is_done else FAILED


def _say(text: str) -> int:
    print(text)
    return 0
