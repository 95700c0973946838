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
from agent.wire.roots import Roots, key_list_topic
from agent.wire.trust import GUARD_SUFFIX, KeyEntry, KeyList, KeyRing, load_key_list
from fleet import authority
from fleet.enrolment import FOLDER, Request
from fleet.errors import FolderError
from fleet.folder import KEYS_FILE

DAY_MS = 24 * 3600 * 1000
LIST_DAYS = 400
"""A list that is over stops commands, not the street: more than a year, so that one yearly signing may be late."""
GATEWAY_KEY_DAYS = 3_650


@dataclass(frozen=True, slots=True)
class Changes:
    """What a draft does to the list in force."""

    added: tuple[KeyEntry, ...]
    removed: tuple[KeyEntry, ...]
    changed: tuple[KeyEntry, ...]


def read_approved(folder: Path) -> list[Request]:
    """Approved requests of a manager's folder, oldest decision first.

    Raises:
        FolderError: one cannot be read.
    """
    found = []
    for path in sorted((folder / FOLDER / "requests").glob("*.json")):
        try:
            request = msgspec.json.decode(path.read_bytes(), type=Request)
        except (OSError, msgspec.DecodeError) as error:
            raise FolderError(f"{path}: {error}") from error
        if request.state == "approved":
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
        entries = {
            kid: entry
            for kid, entry in entries.items()
            if entry.role not in {"agent", "guard"} or entry.subject not in subjects
        }
        entries |= {key.kid: _entry(key, request, now_ms) for key in request.keys}
    return KeyList(SCHEMA, ring.city, ring.version + 1, now_ms, now_ms + days * DAY_MS, list(entries.values()))


def changes(ring: KeyRing, drafted: KeyList) -> Changes:
    """What an officer has to look at before signing."""
    old = {entry.kid: entry for entry in ring.entries()}
    new = {entry.kid: entry for entry in drafted.keys}
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
    """An officer's signature of a draft, with the draft in it.

    Raises:
        FolderError: the key is no officer's.
    """
    if officer.kid not in {anchor.kid for anchor in roots.anchors if anchor.public_key == officer.public_key}:
        raise FolderError(f"{officer.kid.decode()} is no officer's key in this city's roots")
    return envelope.join_set([officer.seal(data, key_list_topic(roots.city))])


def publish(signatures: Sequence[bytes], roots: Roots, ring: KeyRing, folder: Path) -> KeyRing:
    """Join the officers' signatures, and put the list in force.

    Raises:
        FolderError: too few, of different drafts, or not newer than the list in force, which stays.
    """
    try:
        sealed = envelope.join_set([each for one in signatures for each in envelope.split_set(one)])
        newer = load_key_list(sealed, roots, ring.version + 1)
    except (WireError, TrustError) as error:
        raise FolderError(f"not published: {error}") from error
    authority.replace(folder / KEYS_FILE, sealed, 0o644)
    return newer


def _entry(key: SigningKey, request: Request, now_ms: int) -> KeyEntry:
    subject = request.gateway + (GUARD_SUFFIX if key.role == "guard" else "")
    valid = (now_ms - DAY_MS, now_ms + GATEWAY_KEY_DAYS * DAY_MS)
    return KeyEntry(key.kid, key.algorithm, key.public_key, subject, key.role, ("up",), (request.gateway,), *valid)
