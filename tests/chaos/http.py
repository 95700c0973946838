"""Ask the manager over HTTP as an operator's machine would: with a time-out, and used to failure."""

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def ask(url: str, body: object | None, timeout_s: float) -> Any:
    """The answer, also one that says no; None if there was none."""
    request = Request(url, None if body is None else json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            try:
                return json.load(error)
            except ValueError:
                return None
    except (OSError, HTTPException, ValueError):
        return None
