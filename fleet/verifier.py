"""A process that checks signatures for the manager under load: ``python -m fleet.verifier FD``, started by ``fleet.ahead``.

It is told the keys and given messages, and answers with one byte for each: 1 if the signature is good for the topic and
one of those keys. It decides nothing else, and ends with the connection.

Frames are a big-endian u32 length and a MessagePack array ``[key list or nil, [[topic, message], ...]]``.
"""

import contextlib
import signal
import socket
import sys

import msgspec

from agent.wire import topics
from agent.wire.errors import TrustError, WireError
from agent.wire.trust import KeyList, KeyRing

LENGTH_BYTES = 4
READY = b"r"

Frame = tuple[KeyList | None, list[tuple[str, bytes]]]
frames: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


def check(ring: KeyRing, topic: str, data: bytes) -> bool:
    """Whether the signature is good. Everything else about the message is for the manager to say."""
    try:
        ring.open(data, topics.parse(topic), "up")
    except (WireError, TrustError):
        return False
    return True


def serve(connection: socket.socket) -> None:
    """Answer until the manager goes away."""
    ring = None
    connection.sendall(READY)
    with connection.makefile("rb") as stream:
        while length := stream.read(LENGTH_BYTES):  # Until the manager goes away.
            key_list, messages = frames.decode(stream.read(int.from_bytes(length, "big")))
            if key_list is not None:
                ring = KeyRing(key_list)
            assert ring is not None
            connection.sendall(bytes(check(ring, topic, data) for topic, data in messages))


def main() -> None:
    """Serve on the socket whose number is given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the manager, which then hangs up.
    with socket.socket(fileno=int(sys.argv[1])) as connection, contextlib.suppress(ConnectionError):
        serve(connection)


if __name__ == "__main__":
    main()
