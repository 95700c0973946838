"""A disk that fails, under a database that is open: what the system says of every read, write or sync is an error."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Put what can neither be read nor written behind every descriptor of a database and its log."""
    with _instead(path, lambda _: os.open(path.parent, os.O_PATH)):
        yield


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Every descriptor of a database and its log can still be read and takes nothing, as after an error of the card."""
    with _instead(path, lambda name: os.open(name, os.O_RDONLY)):
        yield


@contextmanager
def _instead(path: Path, opened: Callable[[str], int]) -> Iterator[None]:
    found = {int(each.name): str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if is_of(each, path)}
    assert found
    kept = {number: os.dup(number) for number in found}
    try:
        for number, name in found.items():
            other = opened(name)
            os.dup2(other, number)
            os.close(other)
        yield
    finally:
        for number, good in kept.items():
            os.dup2(good, number)
            os.close(good)


def is_of(descriptor: Path, path: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith(str(path))
    except FileNotFoundError:
        return False  # The one that lists the others.
