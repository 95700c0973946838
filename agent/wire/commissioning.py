"""The signature below a site's facts: who found them safe, when, with what, and over which facts exactly.

Signed are the *parsed* facts that safety rests on, in one canonical form, and not the file: a comment, an order of keys,
a name or a setting of the agent may change without a new signature; a floor, a conflict or a controller's address may
not. Form and fields: docs/wire.md §9. The guard and ``armoire commission`` read and write it here.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from agent.model.equipment import Bollard, Junction, Segment
from agent.model.identity import CityId, GatewayId
from agent.model.site import Cabinet, ModbusLink
from agent.wire.errors import CapabilityError, SignatureError, TrustError, WireError
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, Hash, Id, Milliseconds, Name, Text, decode, encode
from agent.wire.topics import Topic
from agent.wire.trust import COMMISSION, KeyRing

FACTS_SCHEMA = 1
SIGNATURE_BYTES_MAX = 4_096
PROFILE_BYTES_MAX = 1_048_576
SUFFIX = ".sig"
NOT_SAFETY = frozenset({"id", "name", "position", "read_community", "write_community"})
"""Fields that no rule rests on, and passwords, which are to be changed often."""

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


class Signed(Struct, array_like=True, frozen=True):
    """What a commissioner signs.

    Args:
        facts: SHA-256 of the canonical facts. report: SHA-256 of what the check proved.
        signed_ms: Unix time, by the clock of the machine that signed. tool: its version.
        proved: what the check proved, one line for a person.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    gateway: Id
    facts: Hash
    signed_ms: Milliseconds
    tool: Name
    report: Hash
    proved: Text


@dataclass(frozen=True, slots=True)
class Commissioned:
    """A signature that holds.

    Args:
        subject: who signed, as the key list names them. sealed: the signature file.
    """

    subject: str
    kid: str
    signed: Signed
    sealed: bytes


class CommissioningError(TrustError):
    """The site's facts are not, or no more, the ones somebody signed. Nothing was done."""

    reason = "commissioning"


def signature_path(home: Path, cabinet: Cabinet) -> Path:
    """Where the signature lies: beside the site file."""
    return home / f"{cabinet.file}{SUFFIX}"


def facts_of(cabinet: Cabinet, profiles: Mapping[str, bytes]) -> bytes:
    """The canonical form of everything safety rests on.

    Args:
        profiles: name -> digest of the register maps that ``profiles_of`` names.
    """
    site = cabinet.site
    parts = {id_: each for id_, each in site.equipment.items() if isinstance(each, Junction | Bollard | Segment)}
    facts: dict[str, Plain] = {
        "schema": FACTS_SCHEMA,
        "city": site.city,
        "gateway": site.gateway,
        "fleet_silence_ms": site.fleet_silence_ms,
        "observe_ms": cabinet.observe_ms,
        "presence": _plain(cabinet.presence),
        "equipment": {id_: _plain(each) for id_, each in parts.items()},
        "links": {id_: _plain(link) for id_, link in cabinet.links.items() if id_ in parts},
        "profiles": {name: digest.hex() for name, digest in profiles.items()},
    }
    return _text(facts).encode()


def read_profiles(cabinet: Cabinet, home: Path) -> dict[str, bytes]:
    """Digests of the register maps behind the facts: a changed map moves a coil as surely as a changed address.

    Raises:
        CommissioningError: one cannot be read.
    """
    links = [
        link for id_, link in cabinet.links.items() if isinstance(cabinet.site.equipment.get(id_), Bollard | Segment)
    ]
    links += [cabinet.presence.link] if cabinet.presence else []
    names = sorted({link.profile for link in links if isinstance(link, ModbusLink)})
    return {
        name: sha256(_bytes(home / cabinet.profiles / f"{name}.toml", PROFILE_BYTES_MAX)).digest() for name in names
    }


def seal_facts(
    signer: Signer, cabinet: Cabinet, home: Path, *, signed_ms: int, tool: str, report: bytes, proved: str
) -> bytes:
    """Sign a cabinet's facts.

    Raises:
        CommissioningError: a register map cannot be read.
    """
    digest = sha256(facts_of(cabinet, read_profiles(cabinet, home))).digest()
    signed = Signed(SCHEMA, cabinet.site.gateway, digest, signed_ms, tool, report, proved[:500])
    return signer.seal(encode(signed), _context(cabinet))


def open_facts(ring: KeyRing, cabinet: Cabinet, home: Path) -> Commissioned:
    """Check the signature beside a site file against what the file now says.

    Raises:
        CommissioningError: in words: no signature, a key that may not, other facts.
    """
    return open_sealed(ring, cabinet, home, _bytes(signature_path(home, cabinet), SIGNATURE_BYTES_MAX))


def why_unsigned(ring: KeyRing, cabinet: Cabinet, home: Path) -> str:
    """Why the facts are not the signed ones, for a sentence; empty if they are."""
    try:
        open_facts(ring, cabinet, home)
    except CommissioningError as error:
        return str(error)
    return ""


def open_sealed(ring: KeyRing, cabinet: Cabinet, home: Path, sealed: bytes) -> Commissioned:
    """Check a signature that is not in its place yet; otherwise ``open_facts``."""
    held = open_again(ring, cabinet, sealed)
    if sha256(facts_of(cabinet, read_profiles(cabinet, home))).digest() != held.signed.facts:
        raise CommissioningError(f"its facts have changed since {held.subject} signed them")
    return held


def open_again(ring: KeyRing, cabinet: Cabinet, sealed: bytes) -> Commissioned:
    """Check whose signature it is, by a newer key list; over which facts it is has been looked at before.

    Raises:
        CommissioningError: as in ``open_facts``, but for the facts.
    """
    try:
        opened = ring.open(sealed, _context(cabinet), COMMISSION)
        if opened.role != "commissioner":
            raise CapabilityError(f"{opened.kid} is a key of role {opened.role}, not of a commissioner")
        signed = decode(opened.payload, Signed)
    except SignatureError as error:
        raise CommissioningError("its signature is damaged, or was made for another cabinet") from error
    except (WireError, TrustError) as error:
        raise CommissioningError(f"its signature is not believed: {error}") from error
    entry = next(each for each in ring.entries() if each.kid == opened.kid)
    if not entry.not_before_ms <= signed.signed_ms <= entry.not_after_ms:
        raise CommissioningError(f"it was signed when {opened.kid} was not valid")
    return Commissioned(opened.subject, opened.kid, signed, sealed)


def _context(cabinet: Cabinet) -> Topic:
    """No topic of the broker: what is signed here is never a message, and holds for one cabinet only."""
    return Topic(CityId(cabinet.site.city), GatewayId(cabinet.site.gateway), "site", "facts")


def _bytes(path: Path, limit: int) -> bytes:
    try:
        if not path.is_file():  # A pipe of that name would keep the guard waiting for ever.
            raise CommissioningError(f"there is no {path.name}")
        with path.open("rb") as file:
            found = file.read(limit + 1)
    except OSError as error:
        raise CommissioningError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(found) > limit:
        raise CommissioningError(f"{path.name} is longer than {limit} bytes")
    return found


def _plain(value: object) -> Plain:
    """A fact in plain JSON. A field at its default is left out, so that a fact added later breaks no signature."""
    match value:
        case Enum():
            return _plain(value.value)
        case None | bool() | str() | int() | float():
            return value
        case Mapping():
            pairs: list[Plain] = [[_plain(key), _plain(each)] for key, each in value.items()]
            return sorted(pairs, key=_text)
        case frozenset():
            return sorted((_plain(each) for each in value), key=_text)
        case tuple():
            return [_plain(each) for each in value]
    assert is_dataclass(value), type(value)
    found: dict[str, Plain] = {}
    for field in _facts(fields(value)):
        held = getattr(value, field.name)
        if held != _default(field):
            found[field.name] = _plain(held)
    return found


def _text(plain: Plain) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _facts(all_: Iterable["Field[object]"]) -> Iterable["Field[object]"]:
    return (field for field in all_ if field.name not in NOT_SAFETY)


def _default(field: "Field[object]") -> object:
    """A field's default, or something that nothing equals; ``kind`` is written although it has one."""
    return MISSING if field.default is MISSING or field.name == "kind" else field.default
