"""``armoire-fleet enrolment``: codes for technicians, and the decision who joins."""

from datetime import datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from fleet.cli_document import print_json
from fleet.remote import Remote

Url = Annotated[str, Parameter(env_var="ARMOIRE_FLEET_URL")]
Json = Annotated[bool, Parameter(name="--json", negative="")]
DryRun = Annotated[bool, Parameter(negative="")]
URL = "http://127.0.0.1:8080"

app = App(
    name="enrolment",
    help="Gateways that join: codes, requests, decisions.",
    help_epilogue="Example: armoire-fleet enrolment code gw-darcy --operator alice",
)


@app.command(help_epilogue="Example: armoire-fleet enrolment code gw-darcy --operator alice")
def code(
    gateway: str, *, operator: str, serial: str = "", dry_run: DryRun = False, url: Url = URL, json: Json = False
) -> int:
    """Make the one-time code for one cabinet, good for an hour. Tell it to the technician there, not by mail.

    Parameters
    ----------
    serial
        Serial number of the only device that may use it.
    dry_run
        Check, and make no code; an earlier one stays good.
    """
    body = {"gateway": gateway, "operator": operator, "serial": serial, "dry_run": dry_run}
    answer: Any = Remote(url).post("/api/enrolment/codes", body)
    if json:
        return print_json(answer)
    if dry_run:
        print(f"a code for {answer['gateway']} would be made; nothing was changed")
        return 0
    until = datetime.fromtimestamp(answer["until_ms"] / 1000).astimezone()
    print(f"{answer['code']}\nfor {answer['gateway']}, once, until {until:%H:%M}")
    return 0


@app.command(name="list", help_epilogue="Example: armoire-fleet enrolment list --json")
def list_(*, url: Url = URL, json: Json = False) -> int:
    """Requests, oldest first, with the six words to compare."""
    answer: Any = Remote(url).get("/api/enrolment")
    if json:
        return print_json(answer)
    for each in answer:
        decided = f" by {each['by']}" if each["by"] else ""
        print(f"{each['id']}  {each['gateway']:20}  {each['state']}{decided}\n    {each['words']}")
        if each["serial"]:
            print(f"    device {each['serial']}")
    if not answer:
        print("nobody has asked to join")
    return 0


@app.command(
    help_epilogue='Example: armoire-fleet enrolment approve 5f0c1de2a9b84c7d61e02f3a5f0c1de2 --words "lusab babad gutih tugad mudof sakat" --operator alice'
)
def approve(
    request: str, *, words: str, operator: str, dry_run: DryRun = False, url: Url = URL, json: Json = False
) -> int:
    """Certify a gateway. Its earlier certificates are revoked.

    Parameters
    ----------
    request
        Its id, as `list` shows it.
    words
        The six words as the technician reads them at the cabinet. Do not copy them from the list.
    dry_run
        Compare the words and try the authority; certify and revoke nothing.
    """
    body = {"operator": operator, "words": words, "dry_run": dry_run}
    return _decide(request, "approve", body, url, json=json)


@app.command(help_epilogue="Example: armoire-fleet enrolment refuse 5f0c1de2a9b84c7d61e02f3a5f0c1de2 --operator alice")
def refuse(request: str, *, operator: str, dry_run: DryRun = False, url: Url = URL, json: Json = False) -> int:
    """Turn a request down; its code is used up.

    Parameters
    ----------
    dry_run
        Say whether it could be refused, and decide nothing.
    """
    return _decide(request, "refuse", {"operator": operator, "dry_run": dry_run}, url, json=json)


def _decide(request: str, what: str, body: dict[str, object], url: str, *, json: bool) -> int:
    if not (request.isascii() and request.isalnum()):
        print(f"{request[:60]!r} is no request's id")
        return 2
    answer: Any = Remote(url).post(f"/api/enrolment/{request}/{what}", body)
    if json:
        return print_json(answer)
    if answer["is_dry_run"]:
        print(f"{answer['gateway']} would be {answer['state']}; nothing was decided")
        return 0
    print(f"{answer['gateway']} is {answer['state']}")
    if what == "approve":
        print("What it says is believed once the officers have signed its keys: armoire-fleet keys draft")
    return 0
