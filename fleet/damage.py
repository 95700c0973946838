"""A database that turns out to be damaged: nothing more is stored in it, also after a restart, until a person has decided.

What is committed into a torn tree may never be read again, and must not be acknowledged. The gateways keep what was not,
and the newest of what was; so a database begun anew gets that again. A file beside the database remembers.
"""

import contextlib
import sqlite3
import time
from pathlib import Path

_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_MARK = ".damaged"
ADVICE = (
    "nothing is stored or acknowledged, and the gateways keep their records. Stop the manager; move {name} and the files "
    "beside it away, for evidence, and put a sound copy in its place or none: the gateways send again what they still keep"
)


def is_shown_by(error: BaseException | None) -> bool:
    """True if an error, or what it came from, says that the file is damaged; a full or read-only disk damages nothing."""
    while error is not None:
        if isinstance(error, sqlite3.Error):
            code = getattr(error, "sqlite_errorcode", None)  # Missing if the module itself found the fault.
            return (code & 0xFF) in _CODES if code is not None else False
        error = error.__cause__ or getattr(error, "orig", None)
    return False


def remember(place: Path, reason: str) -> str:
    """Write beside the database that it is damaged, if the disk takes that; return the sentence for a person."""
    text = f"{place} is damaged ({reason}): {ADVICE.format(name=place.name)}"
    mark = _mark(place)
    if not mark.exists():
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(OSError):  # Then the next start finds out again.
            mark.write_text(f"{when} {text}; then delete {mark.name}\n")
    return text


def remembered(place: Path) -> str:
    """What was written beside the database, or an empty string."""
    try:
        return _mark(place).read_text(errors="replace").strip()
    except OSError:
        return ""


def _mark(place: Path) -> Path:
    return place.with_name(place.name + _MARK)
