"""``armoire-fleet desired``: what cabinets shall keep to until somebody says otherwise."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter

from agent.model.identity import is_id
from fleet.cli_document import print_json
from fleet.page import clock, printable
from fleet.remote import AnsweredError, Remote
from fleet.words import read_arguments

Url = Annotated[str, Parameter(env_var="ARMOIRE_FLEET_URL")]
Json = Annotated[bool, Parameter(name="--json", negative="")]
URL = "http://127.0.0.1:8080"

app = App(
    name="desired",
    help="What cabinets shall keep to until somebody says otherwise.",
    help_epilogue="Example: armoire-fleet desired show gw-darcy",
)


@app.command(help_epilogue="Example: armoire-fleet desired show gw-darcy --json")
def show(gateway: str = "", *, url: Url = URL, json: Json = False) -> int:
    """What is desired of one gateway, or of every one, beside what it reports, and since when."""
    path = f"/api/desired/{_checked(gateway)}" if gateway else "/api/desired"
    answer: Any = Remote(url).get(path)
    if json:
        return print_json(answer)
    answers = [answer] if gateway else answer
    for each in answers:
        _print(each)
    if not answers:
        print("nothing was set for any gateway")
    return 0


@app.command(
    name="set",
    help_epilogue="Example: armoire-fleet desired set gw-darcy seg-darcy-1 night_level_percent=60 --operator alice --dry-run",
)
def set_(
    gateway: str,
    equipment: str,
    *settings: str,
    operator: str,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    url: Url = URL,
    json: Json = False,
) -> int:
    """Change settings of one piece of equipment; everything else that was set stays.

    Parameters
    ----------
    settings
        As name=value; name=null takes it out, and what was commissioned counts again.
    operator
        Who decides; it is recorded for ever.
    dry_run
        Show the whole document as it would be signed, and change nothing. The verdict is the cabinet's.
    """
    if not settings:
        raise AnsweredError(400, "nothing to set: give settings as name=value; nothing was changed")
    body = {"operator": operator, "settings": {equipment: read_arguments(settings)}, "dry_run": dry_run}
    answer: Any = Remote(url).post(f"/api/desired/{_checked(gateway)}", body)
    if json:
        return print_json(answer)
    _print(answer)
    return 0


@app.command(help_epilogue="Example: armoire-fleet desired history gw-darcy --limit 5")
def history(gateway: str, *, limit: int = 20, url: Url = URL, json: Json = False) -> int:
    """The generations of one gateway, newest last: who set what, and when."""
    answer: Any = Remote(url).get(f"/api/desired/{_checked(gateway)}/history", limit=limit)
    if json:
        return print_json(answer[::-1])
    for each in answer[::-1]:
        print(f"generation {each['generation']}  {clock(each['t_ms'])}  {printable(each['operator'])}")
        for equipment, settings in each["settings"].items():
            print(f"    {equipment}  {', '.join(f'{name}={value}' for name, value in settings.items())}")
    if not answer:
        print("nothing was ever set here")
    return 0


def _print(answer: Mapping[str, Any]) -> None:
    print(f"{answer['gateway']}: {printable(answer['text'])}")
    lines: Sequence[Mapping[str, Any]] = answer["settings"]
    for each in lines:
        rule = f" by {each['rule']}: {each['reason']}" if each["rule"] else ""
        status = "" if answer["is_dry_run"] else f"  {each['status'].replace('-', ' ')}{rule}"
        print(printable(f"    {each['equipment']}  {each['setting']}={each['value']}{status}"))


def _checked(gateway: str) -> str:
    if not is_id(gateway):
        raise AnsweredError(400, f"{gateway[:60]!r} is no gateway's id; armoire-fleet gateways lists them")
    return gateway
