"""The kernel with some of its rules left out, to see that their absence would be noticed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.safety import kernel

Key = tuple[type, type]


def rules_of(key: Key) -> tuple[Any, ...]:
    """Every rule of one kind of command to one kind of equipment, in their order."""
    rules = kernel.RULES[key]
    return (*rules.before, *rules.on_sight)


@contextmanager
def left_out(names: frozenset[str], keys: frozenset[Key] | None = None) -> Iterator[None]:
    """Judge without the rules of these names, for all kinds of commands or for some, as long as the block lasts."""
    table = kernel.RULES
    kernel.RULES = {
        key: rules.without(frozenset(rule for rule in rules_of(key) if rule.__name__ in names))
        if keys is None or key in keys
        else rules
        for key, rules in table.items()
    }
    try:
        yield
    finally:
        kernel.RULES = table
