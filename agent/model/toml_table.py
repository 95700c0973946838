"""A TOML table read key by key: what is wrong is collected, not raised, so that a person sees everything at once.

Every reading method names what it expects; on a problem it notes it and returns a stand-in of the right type. The caller
must not use what it built if any problem was noted.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from agent.model.identity import is_id

T = TypeVar("T")
FOUND_LENGTH_MAX = 60
TEXT_LENGTH_MAX = 200


def shown(value: object) -> str:
    """How a found value is quoted in a message: short, on one line, as the person wrote it."""
    match value:
        case bool():
            text = "true" if value else "false"
        case str():
            text = '"' + "".join(letter if letter.isprintable() else "?" for letter in value) + '"'
        case int() if abs(value) >= 10**FOUND_LENGTH_MAX:
            text = "a very large number"
        case dict():
            text = "a table"
        case list():
            items = ["an array" if isinstance(each, list) else shown(each) for each in value[:FOUND_LENGTH_MAX]]
            text = f"[{', '.join(items)}]"
        case _:
            text = str(value)
    return text if len(text) <= FOUND_LENGTH_MAX else f"{text[: FOUND_LENGTH_MAX - 1]}…"


class Problems:
    """Everything wrong with one file."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.lines: list[str] = []

    def note(self, path: str, text: str) -> None:
        """Remember a problem of the key at ``path``."""
        self.lines.append(f"{self._file}: {path}: {text}")


class Table:
    """One table of a file, and which of its keys were asked for."""

    def __init__(self, problems: Problems, path: str, values: Mapping[str, object]) -> None:
        self.problems = problems
        self.path = path
        self._values = values
        self._known: list[str] = []

    def at(self, key: str) -> str:
        """The full path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def note(self, key: str, text: str) -> None:
        """Remember a problem of one of this table's keys."""
        self.problems.note(self.at(key), text)

    def has(self, key: str) -> bool:
        """Whether the key is there; it counts as known from now on."""
        self._known.append(key)
        return key in self._values

    def take(
        self, key: str, expected: str, stand_in: T, read: Callable[[object], T | None], optional: bool = False
    ) -> T:
        """Read one value.

        Args:
            expected: what a person should have written.
            stand_in: returned when there is a problem, or when an optional key is missing.
            read: makes the value; None if it is not as expected.
        """
        if not self.has(key):
            if not optional:
                self.note(key, f"missing, expected {expected}")
            return stand_in
        found = self._values[key]
        value = read(found)
        if value is None:
            self.note(key, f"expected {expected}, found {shown(found)}")
            return stand_in
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Printable text, 1..200 characters."""
        expected = f"text of 1..{TEXT_LENGTH_MAX} printable characters"
        return self.take(key, expected, default or "", _text, default is not None)

    def matching(self, key: str, pattern: str, expected: str, default: str | None = None) -> str:
        """Text of a given form."""

        def read(found: object) -> str | None:
            return found if isinstance(found, str) and re.fullmatch(pattern, found) else None

        return self.take(key, expected, default or "", read, default is not None)

    def id(self, key: str) -> str:
        """An identifier."""

        def read(found: object) -> str | None:
            return found if isinstance(found, str) and is_id(found) else None

        return self.take(key, "an id of 1..40 of a-z 0-9 - (no hyphen at either end)", "", read)

    def whole(
        self, key: str, least: int, most: int, unit: str, default: int | None = None, stand_in: int | None = None
    ) -> int:
        """A whole number with a unit, such as ``percent``; a ``default`` makes the key optional."""

        def read(found: object) -> int | None:
            return found if type(found) is int and least <= found <= most else None

        expected = f"{unit} {least}..{most}"
        fallback = next(each for each in (default, stand_in, least) if each is not None)
        return self.take(key, expected, fallback, read, default is not None)

    def ms(self, key: str, least: float, most: float, unit: str = "seconds", default_ms: int | None = None) -> int:
        """A time written in seconds or hours, as whole milliseconds."""
        factor = {"seconds": 1_000, "hours": 3_600_000}[unit]

        def read(found: object) -> int | None:
            number = _number(found)
            return round(number * factor) if number is not None and least <= number <= most else None

        expected = f"{unit} {least:g}..{most:g}"
        stand_in = round(least * factor) if default_ms is None else default_ms
        return self.take(key, expected, stand_in, read, default_ms is not None)

    def pair(self, key: str, bounds: tuple[float, float], expected: str) -> tuple[float, float]:
        """Two numbers, each within plus or minus its bound."""

        def read(found: object) -> tuple[float, float] | None:
            if not isinstance(found, list) or len(found) != len(bounds):
                return None
            numbers = [_number(each) for each in found]
            first, second = numbers
            if first is None or second is None or abs(first) > bounds[0] or abs(second) > bounds[1]:
                return None
            return float(first), float(second)

        return self.take(key, expected, (0.0, 0.0), read)

    def array(self, key: str, expected: str, optional: bool = False) -> Iterator[tuple[str, object]]:
        """The elements of an array, each with its path."""
        found: list[object] = self.take(
            key, expected, [], lambda value: value if isinstance(value, list) else None, optional
        )
        for place, each in enumerate(found):
            yield f"{self.at(key)}[{place}]", each

    def table(self, key: str, optional: bool = False) -> "Table | None":
        """A table inside this one; None if it is not there."""
        values = self.take(key, "a table", None, lambda found: found if isinstance(found, dict) else None, optional)
        return None if values is None else Table(self.problems, self.at(key), values)

    def tables(self, key: str) -> "Iterator[Table]":
        """The tables of an array of tables; none if the key is missing."""
        for path, each in self.array(key, "an array of tables", optional=True):
            if isinstance(each, dict):
                yield Table(self.problems, path, each)
            else:
                self.problems.note(path, f"expected a table, found {shown(each)}")

    def rest(self) -> dict[str, object]:
        """Every key and value of this table, all of them known from now on."""
        self._known += self._values
        return dict(self._values)

    def end(self) -> None:
        """Note every key that nobody asked for, with the nearest one that exists."""
        for key in self._values:
            if key not in self._known:
                from difflib import get_close_matches  # Only for a file that is wrong.

                near = get_close_matches(key, self._known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(dict.fromkeys(self._known))}"
                self.note(shown(key)[1:-1], f"unknown key; {hint}")


def _text(found: object) -> str | None:
    if isinstance(found, str) and 0 < len(found) <= TEXT_LENGTH_MAX and found.isprintable() and found.strip():
        return found
    return None


def _number(found: object) -> int | float | None:
    """A finite number; a bool is an int to Python, not to a person."""
    if type(found) is int or (type(found) is float and math.isfinite(found)):
        return found
    return None
