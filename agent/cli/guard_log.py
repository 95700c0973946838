"""``armoire guard log``: what the guard has sealed, newest last."""

import time
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter, validators

from agent.cli import document
from agent.cli.ending import Exit, UsageError
from agent.cli.journal_records import Records
from agent.cli.options import Asking
from agent.cli.words import clean, lease_s, who

Limit = Annotated[int, Parameter(name=("--limit", "-n"), validator=validators.Number(gte=1, lte=500))]

_ASKING = Asking()


def log(
    *,
    equipment: Annotated[str, Parameter(name="--equipment")] = "",
    since: Annotated[str, Parameter(name="--since")] = "",
    limit: Limit = 50,
    asking: Asking = _ASKING,
) -> Exit:
    """Print the guard's black box: trips, latches, commands and who gave them, newest last.

    Asks the guard itself; with the guard down, its database is read and left as it is.

    Args:
        equipment: Only of this one.
        since: Only what is not older: 2h, 30m, or a time such as 2026-11-23T21:00.
        limit: How many, 1..500.
    """
    now_ms = time.time_ns() // 1_000_000
    since_ms = moment_ms(since, now_ms) if since else 0
    records = Records(asking.gateway(), "guard")
    entries = records.log(equipment, since_ms, limit)
    if asking.json:
        shown = [{**document.entry(each), "who": who(each) or None} for each in entries]
        print(document.dumps({"seen_by": "database" if records.is_at_rest else "guard", "entries": shown}))
    else:
        from agent.cli import page

        page.show(page.log(entries, now_ms, with_who=True))
    return Exit.DONE


def moment_ms(text: str, now: int) -> int:
    """Read how long ago, or a time; Unix milliseconds.

    Raises:
        UsageError: neither.
    """
    try:
        then = datetime.fromisoformat(text.strip())
        return max(1, round((then if then.tzinfo else then.astimezone()).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return max(1, now - lease_s(text) * 1000)
    except UsageError as error:
        raise UsageError(
            f"{clean(text)!r} is neither a duration nor a time", advice="write --since 2h or --since 2026-11-23T21:00"
        ) from error
