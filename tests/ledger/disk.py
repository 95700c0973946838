"""A disk that fails: every read, write and sync of an open database ends in EIO's sentence, until it is back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Put what can neither be read nor written behind every descriptor of a database and its log."""
    numbers = [int(each.name) for each in Path("/proc/self/fd").iterdir() if is_of(each, path)]
    assert numbers
    kept = {number: os.dup(number) for number in numbers}
    nowhere = os.open(path.parent, os.O_PATH)
    try:
        for number in numbers:
            os.dup2(nowhere, number)
        yield
    finally:
        for number, good in kept.items():
            os.dup2(good, number)
            os.close(good)
        os.close(nowhere)


def is_of(descriptor: Path, path: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith(str(path))
    except FileNotFoundError:
        return False  # The one that lists the others.
