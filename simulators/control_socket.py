"""The back door of a simulator: one JSON object per line over a unix socket or 127.0.0.1.

``{"fault": "silent", "on": true}`` · ``{"get": "state"}`` · ``{"set": {"loop_a": true}}``
· ``{"do": "press_reset"}``, each with ``"unit": 2`` where one process simulates several devices.
Every line gets one line back, ``{"ok": true, …}`` or ``{"ok": false, "error": "…"}``.
Real equipment has nothing of the kind; nothing shipped to a cabinet speaks it.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 65_536
ANSWER_BYTES_MAX = 16 * 1_048_576  # a whole event log is one line
CLIENTS_MAX = 16
EXCHANGE_TIMEOUT_S = 5.0

Answer = dict[str, Any]
Respond = Callable[[dict[str, Any]], Answer]


class ControlError(ValueError):
    """The line asks for something this simulator cannot do; the message says what it could."""


def answer_line(line: bytes, respond: Respond) -> bytes:
    """Answer one line. Whatever comes in, one valid JSON line goes out."""
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise ControlError("expected one JSON object per line")
        answer = {"ok": True, **respond(request)}
    except (ValueError, RecursionError) as error:  # ControlError, FaultError, JSON and UTF-8 errors are ValueErrors
        answer = {"ok": False, "error": str(error)}
    return json.dumps(answer).encode() + b"\n"


class ControlSocket:
    """Serves one simulator's control lines. ``address`` is a path, or ``127.0.0.1:port``."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._clients: set[asyncio.StreamWriter] = set()
        self.address = ""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= CLIENTS_MAX:
            writer.close()
            return
        self._clients.add(writer)
        try:
            # Ends with the client: an operator may keep a line open as long as he likes.
            while line := await reader.readline():
                writer.write(answer_line(line, self._respond))
                async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
                    await writer.drain()
        except (ConnectionError, TimeoutError, ValueError):
            pass  # a line over LINE_BYTES_MAX, or a client that left: its own affair
        finally:
            self._clients.discard(writer)
            writer.close()

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator["ControlSocket"]:
        """Listen on ``address`` until the block ends.

        Raises:
            OSError: the address is taken or cannot be made.
        """
        host, _, port = address.rpartition(":")
        if host and port.isdigit():
            server = await asyncio.start_server(self._talk, host, int(port), limit=LINE_BYTES_MAX)
            bound = server.sockets[0].getsockname()
            self.address = f"{bound[0]}:{bound[1]}"
        else:
            _remove_dead_socket(Path(address))
            server = await asyncio.start_unix_server(self._talk, address, limit=LINE_BYTES_MAX)
            self.address = address
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._clients):
                writer.close()
            await server.wait_closed()
            # Each talk ends by itself now; one that the loop's end cuts off would be reported as a failure.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
                    while self._clients:  # noqa: ASYNC110 - they are several, and it is their end that is waited for
                        await asyncio.sleep(0)
            if not port.isdigit() or not host:
                _remove_socket(Path(address))


def _remove_socket(path: Path) -> None:
    path.unlink(missing_ok=True)


def _remove_dead_socket(path: Path) -> None:
    """A killed simulator leaves its socket behind; a living one keeps it."""
    if not path.is_socket():
        return
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink()
    finally:
        probe.close()


async def _connected(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        return await asyncio.open_connection(host, int(port), limit=ANSWER_BYTES_MAX)
    return await asyncio.open_unix_connection(address, limit=ANSWER_BYTES_MAX)


async def ask(address: str, request: dict[str, Any]) -> Answer:
    """Send one line to a running simulator and return its answer.

    Raises:
        OSError: nobody listens there.
        TimeoutError: no answer within EXCHANGE_TIMEOUT_S.
        ControlError: the simulator refused, or answered something else than JSON.
    """
    async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
        try:
            reader, writer = await _connected(address)
        except OSError as error:
            raise OSError(f"no simulator listens at {address}: {error.strerror or error}") from error
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise ControlError(f"{address} did not answer with JSON") from error
    if not isinstance(answer, dict) or not answer.get("ok"):
        raise ControlError(str(answer.get("error", "refused")) if isinstance(answer, dict) else "refused")
    return answer
