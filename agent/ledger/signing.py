"""Signing what the ledger seals."""

from agent.ledger.errors import UnsignedError
from agent.wire.keyfile import KeyFileError, Signer
from agent.wire.topics import Topic


def seal(signer: Signer, payload: bytes, topic: Topic) -> bytes:
    """Seal a link.

    Raises:
        UnsignedError: the key cannot sign, as that of a token that was taken out; the records wait, as for a disk.
    """
    try:
        return signer.seal(payload, topic)
    except KeyFileError as error:
        raise UnsignedError(f"not signed: {error}") from error
