"""A numbered state in a word, the same in verdicts, points and logs."""

from enum import IntEnum


def word_of(kind: type[IntEnum], number: int) -> str:
    """``held-down`` for ``HELD_DOWN``; a number outside the list is ``unknown state 99``."""
    if number not in set(kind):
        return f"unknown state {number}"
    return kind(number).name.lower().replace("_", "-")
