"""A secure element's key: P-256, always the same for a name, and its signatures too."""

from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from agent.wire.envelope import P256_ORDER
from agent.wire.keyfile import Signer
from tests.wire.party import GATEWAY


class Esp256(Signer):
    """A P-256 key made of its name, whose signatures are the same every time."""

    def __init__(self, kid: str) -> None:
        self.secret = int.from_bytes(sha256(kid.encode()).digest(), "big") % (P256_ORDER - 1) + 1
        super().__init__(kid, ec.derive_private_key(self.secret, ec.SECP256R1()))

    def sign(self, message: bytes) -> bytes:
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        way = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(self._key.sign(message, way))
        return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


CARD = Esp256(f"{GATEWAY}/agent/2")
"""The gateway's second key, in a secure element."""
