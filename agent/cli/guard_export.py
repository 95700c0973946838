"""``armoire guard export``: the guard's sealed records as they are, in a file anybody can check."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agent.cli.ending import Exit
from agent.cli.journal_export import Writing, run
from agent.cli.journal_records import STREAMS
from agent.cli.options import Asking


def export(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    writing: Writing | None = None,
    asking: Asking | None = None,
) -> Exit:
    """Write the guard's sealed records to a file, as they are, with the key list to check them by.

    Asks the guard itself; with the guard down, its database is read and left as it is.

    Args:
        file: Where to; an existing file is left alone.
    """
    return run(file, "guard", STREAMS["guard"], writing or Writing(), asking or Asking())
