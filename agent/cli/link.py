"""One request to one process over its unix socket: blocking, bounded in time and size, nothing believed.

A connection per request: a technician's command asks a few times and ends, and a half-read reply can never be taken
for the next one's.
"""

import errno
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from agent.cli.ending import FailedError, UnreachableError
from agent.cli.words import clean, sentence
from agent.wire.errors import WireError
from agent.wire.local import FRAME_BYTES_MAX, LENGTH_BYTES, Failed, Reply, Request, decode_reply, frame

ANSWER_TIMEOUT_S = 2.0
"""A process that lives answers a question in milliseconds."""
SUBMIT_TIMEOUT_S = 17.0
"""The processes give a command 15 s (a bollard's read-back is the slowest); two more let their own word arrive."""

_NOT_THERE = {errno.ENOENT: "has no socket at", errno.ECONNREFUSED: "is gone; it left its socket at"}


@dataclass(frozen=True, slots=True)
class Link:
    """The way to one process.

    Args:
        process: ``agent`` or ``guard``.
        path: its socket.
    """

    process: str
    path: Path

    def ask(self, request: Request, timeout_s: float = ANSWER_TIMEOUT_S) -> Reply:
        """Send one request and wait for its reply.

        Args:
            timeout_s: for the whole exchange, however slowly the bytes drip.

        Raises:
            UnreachableError: not there, silent, or answering outside the grammar; ``sent`` tells whether it may have
                acted.
            FailedError: it says it could not.
        """
        deadline_s = time.monotonic() + timeout_s
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            self._connect(sock)
            try:
                _until(sock, deadline_s).sendall(frame(request))
                length = int.from_bytes(_receive(sock, LENGTH_BYTES, deadline_s), "big")
                if length > FRAME_BYTES_MAX:
                    raise WireError(f"a reply of {length} bytes")
                reply = decode_reply(_receive(sock, length, deadline_s))
            except TimeoutError as error:
                raise self._lost(f"the {self.process} did not answer within {timeout_s:g} s") from error
            except (EOFError, ConnectionError) as error:
                raise self._lost(
                    f"the {self.process} closed the connection without an answer",
                    "see its log; only root, the service's own user and its state folder's group may speak to it",
                ) from error
            except OSError as error:
                raise self._lost(f"the connection to the {self.process} broke: {error.strerror}") from error
            except WireError as error:
                raise self._lost(
                    f"the {self.process} answered something that is not a reply ({clean(str(error))})",
                    "check that it and this program are of the same version: armoire --version",
                ) from error
        if isinstance(reply, Failed):
            raise FailedError(sentence(reply.text) or f"The {self.process} could not answer and gave no reason.")
        return reply

    def _connect(self, sock: socket.socket) -> None:
        sock.settimeout(ANSWER_TIMEOUT_S)
        try:
            sock.connect(str(self.path))
        except TimeoutError as error:
            raise UnreachableError(f"the {self.process} is too busy to take a call") from error
        except PermissionError as error:
            raise UnreachableError(
                f"you may not speak to the {self.process} ({clean(str(self.path))})",
                advice="use sudo, or ask for membership of the service's group",
            ) from error
        except OSError as error:
            why = _NOT_THERE.get(error.errno or 0, f"cannot be reached ({error.strerror or error}) at")
            raise UnreachableError(
                f"the {self.process} {why} {clean(str(self.path))}", absent=error.errno == errno.ENOENT
            ) from error

    def _lost(self, what: str, advice: str = "") -> UnreachableError:
        return UnreachableError(what, advice=advice, sent=True)


def _until(sock: socket.socket, deadline_s: float) -> socket.socket:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    sock.settimeout(left_s)
    return sock


def _receive(sock: socket.socket, length: int, deadline_s: float) -> bytes:
    received = bytearray()
    while len(received) < length:  # Ends at the deadline at the latest.
        part = _until(sock, deadline_s).recv(length - len(received))
        if not part:
            raise EOFError
        received += part
    return bytes(received)
