"""The API of a running manager, as the command line uses it. Standard library only: ``armoire-fleet events`` starts fast."""

import http.client
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import msgspec

from fleet.errors import FleetError

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 64_000_000


class UnreachableError(FleetError):
    """No manager answers there."""


class AnsweredError(FleetError):
    """The manager said no.

    Args:
        status: HTTP's.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Remote:
    """One running manager.

    Raises:
        UnreachableError: the address cannot be one.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UnreachableError(f"--url {url!r}: {error}") from error
        if parts.scheme != "http" or not parts.hostname:
            raise UnreachableError(f"--url: expected http://host:port, found {url!r}")
        self._host, self._port = parts.hostname, port or 80

    def get(self, path: str, **query: str | int) -> object:
        """Read something.

        Raises:
            UnreachableError, AnsweredError
        """
        asked = {name: value for name, value in query.items() if value != ""}
        return self._ask("GET", f"{path}?{urlencode(asked)}" if asked else path, None)

    def post(self, path: str, body: Mapping[str, object]) -> object:
        """Ask for something.

        Raises:
            UnreachableError, AnsweredError
        """
        return self._ask("POST", path, msgspec.json.encode(body))

    def _ask(self, method: str, path: str, body: bytes | None) -> object:
        wait_s = 70.0 if body is not None else TIMEOUT_S  # The longest ``wait_s`` is 60.
        connection = http.client.HTTPConnection(self._host, self._port, timeout=wait_s)
        where = f"http://{self._host}:{self._port}"
        try:
            headers = {"accept": "application/json"} | ({"content-type": "application/json"} if body else {})
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnreachableError(f"no manager answers at {where}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        try:
            answer = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreachableError(f"what answers at {where} is no fleet manager (HTTP {response.status})") from error
        if response.status != http.client.OK:
            text = answer.get("detail") if isinstance(answer, dict) else None
            raise AnsweredError(response.status, str(text or f"HTTP {response.status}"))
        return answer
