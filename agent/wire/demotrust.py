"""Demonstration keys: a whole city's trust made in one go, for trying out and for tests.

Everything lies in one folder, the root's private keys included. In service the officers' keys never meet a machine on
the network; here they stay in ``offline/`` so that a key list can be signed anew.

    offline/root-<n>.pem            the officers
    offline/commissioner.pem        who signs site files
    roots.toml  keys.sealed         what every party holds: whom to believe
    fleet/director.pem
    operators/<name>.pem
    gateways/<gateway>/{agent,guard,technician}.pem  beside copies of roots.toml and keys.sealed
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.model.identity import CityId
from agent.model.site_file import read_cabinet
from agent.wire import envelope
from agent.wire.commissioning import seal_facts, signature_path
from agent.wire.keyfile import KeyFileError, Signer, read_signer
from agent.wire.messages import SCHEMA, encode
from agent.wire.roots import Anchor, Roots, anchor_toml, key_list_topic
from agent.wire.trust import COMMAND_CAPABILITIES, COMMISSION, EVERY_GATEWAY, GUARD_SUFFIX, KeyEntry, KeyList

ROOTS_FILE = "roots.toml"
KEYS_FILE = "keys.sealed"
COMMISSIONER_FILE = "offline/commissioner.pem"
YEAR_MS = 365 * 24 * 3600 * 1000
DEMO_YEARS = 10
OPERATOR_CAPABILITIES = COMMAND_CAPABILITIES[:3]
"""An operator never resets a latch (R4): that is done on site."""


def make_demo_trust(
    folder: Path,
    city: str,
    gateways: Sequence[str],
    operators: Sequence[str] = ("alice", "bruno"),
    *,
    now_ms: int,
    officers: int = 3,
    threshold: int = 2,
    version: int = 1,
) -> None:
    """Make every key of a demonstration city.

    Args:
        folder: new or empty.
        now_ms: Unix time; keys and list are valid from a day before it for DEMO_YEARS.
        officers: root keys. threshold: how many of them sign, 1..3.

    Raises:
        KeyFileError: a file exists already or cannot be written.
    """
    try:
        for path in ("offline", "fleet", "operators", *(f"gateways/{gateway}" for gateway in gateways)):
            (folder / path).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise KeyFileError(f"{folder}: {error.strerror}") from error

    roots = [_make(folder / f"offline/root-{n}.pem", f"root/{n}") for n in range(1, officers + 1)]
    entries = [_entry(folder / "fleet/director.pem", "director/1", "director", ("ack", "state", "desired", "roll"))]
    entries += [_entry(folder / COMMISSIONER_FILE, "commissioner/1", "commissioner", (COMMISSION,))]
    entries += (
        _entry(folder / f"operators/{name}.pem", f"{name}/1", "operator", OPERATOR_CAPABILITIES) for name in operators
    )
    for gateway in gateways:
        own = folder / "gateways" / gateway
        entries += (
            _entry(own / "agent.pem", f"{gateway}/agent/1", "agent", ("up",), gateway, subject=gateway),
            _entry(own / "guard.pem", f"{gateway}/guard/1", "guard", ("up",), gateway, subject=gateway + GUARD_SUFFIX),
            _entry(own / "technician.pem", f"{gateway}/tech/1", "technician", COMMAND_CAPABILITIES, gateway),
        )
    valid = (max(0, now_ms - 24 * 3600 * 1000), now_ms + DEMO_YEARS * YEAR_MS)
    entries = [msgspec.structs.replace(entry, not_before_ms=valid[0], not_after_ms=valid[1]) for entry in entries]
    key_list = KeyList(SCHEMA, city, version, now_ms, valid[1], entries)
    sealed = sign_key_list(key_list, roots[:threshold])
    text = roots_toml(city, threshold, roots)
    for place in (folder, folder / "fleet", *(folder / "gateways" / gateway for gateway in gateways)):
        _write(place / ROOTS_FILE, text.encode())
        _write(place / KEYS_FILE, sealed)


def sign_key_list(key_list: KeyList, officers: Sequence[Signer]) -> bytes:
    """Seal a key list with 1..3 root keys."""
    payload = encode(key_list)
    topic = key_list_topic(CityId(key_list.city))
    return envelope.join_set([officer.seal(payload, topic) for officer in officers])


def sign_demo_site(folder: Path, site: Path, now_ms: int) -> None:
    """Sign a site file as the demonstration's commissioner. Nothing is checked: in service that is not possible.

    Args:
        folder: of ``make_demo_trust``. now_ms: Unix time.

    Raises:
        TrustError, SiteFileError, OSError: nothing was signed.
    """
    cabinet = read_cabinet(site.read_text(), site.name)
    sealed = seal_facts(
        read_signer(folder / COMMISSIONER_FILE),
        cabinet,
        site.parent,
        signed_ms=now_ms,
        tool="demonstration",
        report=bytes(32),
        proved="nothing: a demonstration",
    )
    signature_path(site.parent, cabinet).write_bytes(sealed)


def anchors_of(officers: Sequence[Signer], city: str, threshold: int) -> Roots:
    """The public half of root keys."""
    anchors = (
        Anchor(officer.kid, officer.algorithm, officer.public_key, f"officer-{n}")
        for n, officer in enumerate(officers, start=1)
    )
    return Roots(CityId(city), threshold, tuple(anchors))


def roots_toml(city: str, threshold: int, officers: Sequence[Signer]) -> str:
    """Write what ``trust.read_roots`` reads."""
    head = f'city = "{city}"\nthreshold = {threshold}\n'
    return "\n".join((head, *map(anchor_toml, anchors_of(officers, city, threshold).anchors)))


def _make(path: Path, kid: str) -> Signer:
    signer = Signer(kid, Ed25519PrivateKey.generate())
    signer.write(path)
    return signer


def _entry(
    path: Path, kid: str, role: str, capabilities: tuple[str, ...], scope: str = EVERY_GATEWAY, *, subject: str = ""
) -> KeyEntry:
    signer = _make(path, kid)
    subject = subject or kid.removesuffix("/1")
    return KeyEntry(kid, signer.algorithm, signer.public_key, subject, role, capabilities, (scope,), 0, 0)


def _write(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        raise KeyFileError(f"{path}: not written: {error.strerror}") from error
