"""Key lists: drafted where the requests are, signed where the officers' keys are, published where the manager reads them.

A draft is the payload of a key list, not signed by anybody. Each officer looks at what it changes and adds a signature
of the same bytes; with enough of them it becomes the list in force. Versions only rise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.wire import envelope
from agent.wire.enrolment import SigningKey
from agent.wire.errors import TrustError, WireError
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, decode, encode
from agent.wire.roots import (
    Anchor,
    Bundle,
    Handover,
    Roots,
    Signed,
    handover_to,
    key_list_topic,
    read_bundle,
    roots_of,
    roots_topic,
    signed_of,
)
from agent.wire.trust import GUARD_SUFFIX, KeyEntry, KeyList, KeyRing
from fleet import authority
from fleet.enrolment import FOLDER, Request
from fleet.errors import FolderError
from fleet.folder import KEYS_FILE

DAY_MS = 24 * 3600 * 1000
LIST_DAYS = 400
"""A list that is over stops commands, not the street: more than a year, so that one yearly signing may be late."""
GATEWAY_KEY_DAYS = 3_650
ROTATION_DAYS = 60
"""How long a gateway's earlier keys stay good: the officers have to sign, and its processes to be restarted."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a draft does to the list in force."""

    added: tuple[KeyEntry, ...]
    removed: tuple[KeyEntry, ...]
    changed: tuple[KeyEntry, ...]


def read_approved(folder: Path) -> list[Request]:
    """Approved requests and rotations of a manager's folder, oldest first.

    Raises:
        FolderError: one cannot be read.
    """
    found = []
    for path in sorted((folder / FOLDER / "requests").glob("*.json")):
        try:
            request = msgspec.json.decode(path.read_bytes(), type=Request)
        except (OSError, msgspec.DecodeError) as error:
            raise FolderError(f"{path}: {error}") from error
        if request.state in {"approved", "rotated"}:
            found.append(request)
    return sorted(found, key=lambda each: each.decided_ms)


def draft(ring: KeyRing, approved: Iterable[Request], removed: Sequence[str], now_ms: int, days: int) -> KeyList:
    """The next key list: keys approved since the last in place of their gateway's earlier ones, and some removed.

    Args:
        approved: in the order of the decisions. removed: kids. days: until the list is over, 1..3650.

    Raises:
        FolderError: a kid to remove is not in the list.
    """
    entries = {entry.kid: entry for entry in ring.entries()}
    for kid in removed:
        if kid not in entries:
            raise FolderError(f"key list {ring.version} has no key {kid!r}; armoire-fleet keys show lists them")
        del entries[kid]
    for request in approved:
        if request.decided_ms < ring.issued_ms:
            continue  # The list in force was drafted later: taken in then, and perhaps taken out since.
        subjects = {request.gateway, request.gateway + GUARD_SUFFIX}
        roles = {key.role for key in request.keys} if request.state == "rotated" else {"agent", "guard"}
        for kid, entry in list(entries.items()):
            if entry.role not in roles or entry.subject not in subjects:
                continue
            if request.state == "rotated":  # Both are good until every process has begun to use the new one.
                until_ms = min(entry.not_after_ms, request.decided_ms + ROTATION_DAYS * DAY_MS)
                entries[kid] = msgspec.structs.replace(entry, not_after_ms=until_ms)
            else:
                del entries[kid]
        entries |= {key.kid: _entry(key, request, now_ms) for key in request.keys}
    return KeyList(SCHEMA, ring.city, ring.version + 1, now_ms, now_ms + days * DAY_MS, list(entries.values()))


def replace_key(drafted: KeyList, old_kid: str, new: Anchor, now_ms: int, overlap_days: int) -> KeyList:
    """Let a new key do what an old one does; the old one stays good for a while, so that nobody is cut off.

    Args:
        overlap_days: until the old one ends, 0..365.

    Raises:
        FolderError: no such key, or the new one's name is taken.
    """
    entries = {entry.kid: entry for entry in drafted.keys}
    kid = new.kid.decode()
    if old_kid not in entries:
        raise FolderError(f"there is no key {old_kid!r} to replace; armoire-fleet keys show lists them")
    if kid in entries:
        raise FolderError(f"a key {kid!r} is in the list already: a new key has a new name")
    old = entries[old_kid]
    until_ms = min(old.not_after_ms, now_ms + overlap_days * DAY_MS)
    fresh = KeyEntry(
        kid, new.algorithm, new.public_key, old.subject, old.role, old.capabilities, old.scope,
        now_ms - DAY_MS, now_ms + GATEWAY_KEY_DAYS * DAY_MS,
    )  # fmt: skip
    entries[old_kid] = msgspec.structs.replace(old, not_after_ms=until_ms)
    return msgspec.structs.replace(drafted, keys=[*entries.values(), fresh])


def draft_roots(ring: KeyRing, roots: Roots, officers: Sequence[Anchor], threshold: int, now_ms: int) -> Handover:
    """The handover to the officers' keys N+1.

    Raises:
        FolderError: these keys could sign nothing.
    """
    held = ring.roots or roots
    handover = handover_to(Roots(held.city, threshold, tuple(officers), held.version + 1), now_ms)
    try:
        roots_of(handover)
    except TrustError as error:
        raise FolderError(str(error)) from error
    return handover


def changes(ring: KeyRing, following: Iterable[KeyEntry]) -> Changes:
    """What an officer has to look at before signing: the keys of the next list beside those of the list in force."""
    old = {entry.kid: entry for entry in ring.entries()}
    new = {entry.kid: entry for entry in following}
    return Changes(
        tuple(entry for kid, entry in new.items() if kid not in old),
        tuple(entry for kid, entry in old.items() if kid not in new),
        tuple(entry for kid, entry in new.items() if kid in old and old[kid] != entry),
    )


def read_draft(data: bytes, roots: Roots) -> KeyList:
    """Read a draft.

    Raises:
        FolderError: not one, of another city, or with entries nobody could use.
    """
    try:
        drafted = decode(data, KeyList)
        KeyRing(drafted)
    except (WireError, TrustError) as error:
        raise FolderError(f"not a draft of a key list: {error}") from error
    if drafted.city != roots.city or encode(drafted) != data:
        raise FolderError(f"not a draft for {roots.city} as `keys draft` writes it")
    return drafted


def sign(data: bytes, officer: Signer, roots: Roots) -> bytes:
    """An officer's signature of a draft of a key list, with the draft in it.

    Raises:
        FolderError: the key is no officer's.
    """
    check_officer(officer, roots)
    return envelope.join_set([officer.seal(data, key_list_topic(roots.city))])


def sign_roots(handover: Handover, officer: Signer, roots: Roots) -> bytes:
    """An officer's signature of a handover: one of those before it, or of those it names.

    Raises:
        FolderError: the key is neither's.
    """
    check_officer(officer, roots, handover)
    return envelope.join_set([officer.seal(encode(handover), roots_topic(roots.city))])


def publish(
    signatures: Sequence[bytes],
    handed_over: Sequence[bytes],
    roots: Roots,
    ring: KeyRing,
    folder: Path,
    *,
    dry_run: bool = False,
) -> KeyRing:
    """Join the officers' signatures, and put the list in force.

    Args:
        handed_over: signatures of a handover that comes with this list; none if the officers' keys stay.
        dry_run: check everything, and leave the list in force.

    Raises:
        FolderError: too few, of different drafts, or not newer than the list in force, which stays.
    """
    try:
        handovers = list(read_bundle(ring.sealed).handovers)
        if handed_over:
            handovers.append(_joined(handed_over))
        sealed = encode(Bundle(SCHEMA, handovers, _joined(signatures)))
        newer = ring.replaced_by(sealed, roots)
        if newer.version == ring.version:
            raise FolderError(f"not published: key list {ring.version} is in force already")
    except (WireError, TrustError) as error:
        raise FolderError(f"not published: {error}") from error
    if not dry_run:
        authority.replace(folder / KEYS_FILE, sealed, 0o644)
    return newer


def _joined(signatures: Sequence[bytes]) -> Signed:
    return signed_of([each for one in signatures for each in envelope.split_set(one)])


def check_officer(officer: Signer, roots: Roots, handover: Handover | None = None) -> None:
    """Refuse a key that is no officer's, neither of those in office nor of those a handover names.

    Raises:
        FolderError: it is not.
    """
    anchors = roots.anchors if handover is None else (*roots.anchors, *roots_of(handover).anchors)
    if officer.kid not in {anchor.kid for anchor in anchors if anchor.public_key == officer.public_key}:
        raise FolderError(f"{officer.kid.decode()} is no officer's key in this city's roots")


def _entry(key: SigningKey, request: Request, now_ms: int) -> KeyEntry:
    subject = request.gateway + (GUARD_SUFFIX if key.role == "guard" else "")
    valid = (now_ms - DAY_MS, now_ms + GATEWAY_KEY_DAYS * DAY_MS)
    return KeyEntry(key.kid, key.algorithm, key.public_key, subject, key.role, ("up",), (request.gateway,), *valid)
