"""What is typed as ``name=value``."""

from collections.abc import Sequence

import msgspec

from fleet.remote import AnsweredError


def read_arguments(words: Sequence[str]) -> dict[str, object]:
    """``level_percent=60`` as a number, ``on=true`` as true, the rest as text.

    Raises:
        AnsweredError: not of that form.
    """
    arguments: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise AnsweredError(400, f"expected name=value, found {word!r}; nothing was sent")
        try:
            value = msgspec.json.decode(text, type=bool | int | float | str | None)
        except (msgspec.DecodeError, UnicodeDecodeError):
            value = text
        except UnicodeEncodeError as error:
            raise AnsweredError(400, f"{word!r} is not UTF-8 text; nothing was sent") from error
        arguments[name] = value
    return arguments
