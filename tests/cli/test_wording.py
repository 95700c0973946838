"""The canned cabinet, and with it the technician's page, says what real cabinets say."""

import re

from tests.cli.wording import ENDS, LINK, WOULD_DO, latched
from tests.tree import python_files, text

SPOKEN = "\n".join(text(path) or "" for path in python_files("agent/guard", "agent/runtime", "agent/process"))


def pieces(said: str) -> list[str]:
    """The fixed parts of a sentence."""
    return [part for part in re.split(r"\{\w+\}|\bSR-\d+\b|\d+", said) if part.strip(" %")]


def test_every_canned_sentence_is_said_by_a_process() -> None:
    made_up = {said for said in (*ENDS.values(), WOULD_DO, LINK) if not all(part in SPOKEN for part in pieces(said))}
    # The bollard's two ends are put together from what was asked.
    assert made_up == {ENDS["lower"], ENDS["raise"]}
    assert all(part in SPOKEN for part in ('"lowering"', '"rising"', " was asked and seen"))


def test_the_canned_warning_is_the_guards() -> None:
    fixed = re.split(r"X", latched("X", "X", "X"))
    assert all(part in SPOKEN for part in fixed)
