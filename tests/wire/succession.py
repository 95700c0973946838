"""Officers who come and go: sets of root keys, their handovers, and key lists under each."""

from collections.abc import Sequence

from agent.wire.demotrust import anchors_of
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, encode
from agent.wire.roots import Anchor, Bundle, Roots, Signed, handover_to, key_list_topic, roots_topic, signed_of
from agent.wire.trust import KeyEntry, KeyList
from tests.wire.party import CITY, OFFICERS, ROOTS, T0_MS, YEAR_MS, entries, signer

FOURTH, FIFTH = signer("root/4"), signer("root/5")
SECOND_OFFICERS = [OFFICERS[1], OFFICERS[2], FOURTH]
THIRD_OFFICERS = [OFFICERS[2], FOURTH, FIFTH]


def roots(officers: Sequence[Signer], version: int, threshold: int = 2) -> Roots:
    """Officers' keys of a version, each officer under one name whatever the version."""
    named = {each.kid: f"officer {each.kid.decode()}" for each in officers}
    anchors = anchors_of(officers, CITY, threshold).anchors
    return Roots(
        ROOTS.city,
        threshold,
        tuple(Anchor(each.kid, each.algorithm, each.public_key, named[each.kid]) for each in anchors),
        version,
    )


FIRST, SECOND, THIRD = roots(OFFICERS, 1), roots(SECOND_OFFICERS, 2), roots(THIRD_OFFICERS, 3)


def handed_over(to: Roots, *signers: Signer) -> Signed:
    """A handover with these signatures."""
    payload = encode(handover_to(to, T0_MS))
    return signed_of([each.seal(payload, roots_topic(ROOTS.city)) for each in signers])


def bundle(version: int, signers: Sequence[Signer], *handovers: Signed, keys: list[KeyEntry] | None = None) -> bytes:
    """A key list with its handovers, as it lies on disk."""
    key_list = KeyList(SCHEMA, CITY, version, T0_MS, T0_MS + YEAR_MS, entries() if keys is None else keys)
    payload = encode(key_list)
    signed = signed_of([each.seal(payload, key_list_topic(ROOTS.city)) for each in signers])
    return encode(Bundle(SCHEMA, list(handovers), signed))


TO_SECOND = handed_over(SECOND, OFFICERS[0], OFFICERS[1], FOURTH)
"""Two of the first three, and two of the second: one officer is both."""
TO_THIRD = handed_over(THIRD, OFFICERS[2], FOURTH, FIFTH)
