"""The simulation's keys. A signature is checked once, however many hear the same bytes: that is most of the work."""

from functools import lru_cache
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.wire.envelope import PublicKey
from agent.wire.trust import KeyRing
from tests.wire.party import GATEWAY, OTHER_GATEWAY, ring, signer

GATEWAYS = (GATEWAY, OTHER_GATEWAY)
DIRECTOR, ALICE = signer("director/1"), signer("alice/1")
AGENTS = {gateway: signer(f"{gateway}/agent/1") for gateway in GATEWAYS}
VERIFIED_KEPT = 4_096
"""Per key: more than a run says, some 3 MB."""


@Ed25519PublicKey.register
class _Remembering:
    """A public key that knows the signatures it found good; one that was not is looked at again each time."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self.verify = lru_cache(VERIFIED_KEPT)(key.verify)


def _remembering_ring() -> KeyRing:
    keys = ring(*GATEWAYS)
    for each in keys.entries():
        key = _Remembering(Ed25519PublicKey.from_public_bytes(each.public_key))
        keys._keys[each.kid.encode()] = cast("PublicKey", key)
    return keys


KEYS = _remembering_ring()
