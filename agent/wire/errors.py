"""What can be wrong with bytes from outside. Each reason is counted under its name."""


class WireError(Exception):
    """Root: bytes that do not follow the grammar. Nothing was done with them."""

    reason = "malformed"


class EnvelopeError(WireError):
    """Not a COSE_Sign1 of our strict profile."""

    reason = "envelope"


class MessageError(WireError):
    """A verified payload that is not the message its topic promises."""

    reason = "message"


class TopicError(WireError):
    """A topic outside the tree, or of another gateway."""

    reason = "topic"


class TrustError(Exception):
    """Root: the grammar is right, the signer is not to be believed. Nothing was done."""

    reason = "untrusted"


class UnknownKeyError(TrustError):
    """No such key in the key list, or it is outside its validity."""

    reason = "unknown-key"


class SignatureError(TrustError):
    """The signature does not match bytes, topic and key."""

    reason = "signature"


class CapabilityError(TrustError):
    """The key is good but may not sign this."""

    reason = "capability"


class KeyListError(TrustError):
    """A key list below the root threshold, or older than the one we hold."""

    reason = "key-list"
