"""``armoire-fleet keys``: the key list, from the draft over the officers' signatures to the list in force."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cyclopts import App, Parameter
from msgspec.structs import asdict

from agent.wire.envelope import KID_BYTES_MAX
from agent.wire.errors import TrustError, WireError
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import decode, encode
from agent.wire.roots import Anchor, Handover, Roots, anchor_toml, read_anchor, read_roots, roots_of
from agent.wire.trust import KeyEntry, KeyRing, load_key_list
from fleet import authority, keylist
from fleet.cli_document import print_json
from fleet.control_room import unix_ms
from fleet.errors import FolderError
from fleet.folder import KEYS_FILE, ROOTS_FILE

OVERLAP_DAYS = 30
YEAR_9999_S = 253_402_300_799
Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="")]

app = App(
    name="keys",
    help="The key list: whom everybody believes. Signed by the officers, its version only rises.",
    help_epilogue="Example: armoire-fleet keys draft --trust trust --dir fleet --out keys.draft",
)


@app.command(help_epilogue="Example: armoire-fleet keys show --trust trust --json")
def show(*, trust: Path, json: Json = False) -> int:
    """Every key of the list in force."""
    _, ring = _held(trust)
    if json:
        return print_json(_document(ring))
    print(f"key list {ring.version} of {ring.city}")
    for entry in ring.entries():
        print(_line(" ", entry))
    return 0


@app.command(
    help_epilogue="Example: armoire-fleet keys draft --trust trust --dir fleet --remove gw-old/agent/1 --out keys.draft"
)
def draft(
    *,
    trust: Path,
    out: Path,
    dir: Path | None = None,  # noqa: A002 - the option is called --dir
    remove: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    replace: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    overlap: int = OVERLAP_DAYS,
    days: int = keylist.LIST_DAYS,
    dry_run: Flag = False,
) -> int:
    """Write the next key list for the officers to sign: keys of approved gateways in, earlier ones of theirs out.

    Parameters
    ----------
    trust
        Folder with roots.toml and keys.sealed.
    dir
        Folder of the manager, for the requests that were approved there.
    remove
        A key to take out at once, by its kid; may be given several times.
    replace
        OLD=FILE: the key in FILE, as `keys new` wrote it, may do from now on what the key OLD may; may be given several
        times.
    overlap
        Days for which a replaced key stays good, 0..365.
    days
        Days until the list must be signed anew, 1..3650.
    dry_run
        Show what would change, and write nothing.
    """
    if not 0 <= overlap <= 365:
        raise FolderError(f"--overlap: expected 0..365 days, found {overlap}")
    if not 1 <= days <= 3_650:
        raise FolderError(f"--days: expected 1..3650, found {days}")
    _check_new(out)
    _, ring = _held(trust)
    drafted = keylist.draft(ring, keylist.read_approved(dir) if dir else [], remove, unix_ms(), days)
    for each in replace:
        old, _, file = each.partition("=")
        drafted = keylist.replace_key(drafted, old, _public(Path(file)), unix_ms(), overlap)
    _tell(ring, keylist.changes(ring, drafted.keys), drafted.version)
    if dry_run:
        return 0
    authority.write_new(out, encode(drafted))
    print(f"wrote {out}; each officer: armoire-fleet keys sign {out} --key ROOT.pem --trust {trust} --out FILE")
    return 0


@app.command(
    help_epilogue="Example: armoire-fleet keys sign keys.draft --key root-1.pem --trust trust --out keys.signed-1"
)
def sign(
    file: Path,
    *,
    key: Path,
    trust: Path,
    out: Path,
    root: Path | None = None,
    passphrase_file: Path | None = None,
    dry_run: Flag = False,
) -> int:
    """Show what a draft changes, and sign it as an officer. Needs no network.

    Parameters
    ----------
    file
        A draft of a key list, or of a change of the officers' keys.
    key
        The officer's private key: a file, or a token's (`pkcs11:` in the file).
    root
        The draft of a change of the officers' keys that comes with this list: its new officers sign the list.
    passphrase_file
        File of mode 0600 whose first line unlocks the key.
    dry_run
        Show what the draft changes, check that the key is an officer's, and sign nothing.
    """
    _check_new(out)
    roots, ring = _held(trust)
    try:
        officer = read_signer(key, authority.read_passphrase(passphrase_file))
    except TrustError as error:
        raise FolderError(str(error)) from error
    data, held = file.read_bytes(), ring.roots or roots
    handover = _handover(data)
    if handover is not None:
        _tell_roots(held, handover)
        keylist.check_officer(officer, held, handover)
        signed = b"" if dry_run else keylist.sign_roots(handover, officer, held)
    else:
        drafted = keylist.read_draft(data, roots)
        _tell(ring, keylist.changes(ring, drafted.keys), drafted.version)
        following = _handover(root.read_bytes()) if root is not None else None
        signers = held if following is None else roots_of(following)
        keylist.check_officer(officer, signers)
        signed = b"" if dry_run else keylist.sign(data, officer, signers)
    if dry_run:
        print(f"would be signed as {officer.kid.decode()}: {out}; nothing was signed")
        return 0
    authority.write_new(out, signed)
    print(f"signed as {officer.kid.decode()}: {out}")
    return 0


@app.command(help_epilogue="Example: armoire-fleet keys publish keys.signed-1 keys.signed-2 --trust trust --dry-run")
def publish(
    *files: Path, trust: Path, root: Annotated[tuple[Path, ...], Parameter(negative="")] = (), dry_run: Flag = False
) -> int:
    """Put a list that enough officers have signed in force. A running manager takes it within two seconds.

    Parameters
    ----------
    root
        A signature of a change of the officers' keys that comes into force with this list; may be given several times.
    dry_run
        Check the signatures, show what would change, and leave the list in force as it is.
    """
    roots, ring = _held(trust)
    signatures, handed_over = ([each.read_bytes() for each in group] for group in (files, root))
    newer = keylist.publish(signatures, handed_over, roots, ring, trust, dry_run=dry_run)
    if dry_run:
        _tell(ring, keylist.changes(ring, newer.entries()), newer.version)
        print(f"key list {newer.version} has enough signatures; {ring.version} stays in force")
        return 0
    print(f"key list {newer.version} is in force, {len(newer)} keys")
    if handed_over and newer.roots is not None:
        print(f"the officers' keys {newer.roots.version} sign from now on; roots.toml stays as it is")
    return 0


@app.command(name="new", help_epilogue="Example: armoire-fleet keys new root/4 --subject officer-4 --out root-4.pem")
def new_key(kid: str, *, subject: str, out: Path, passphrase_file: Path | None = None, dry_run: Flag = False) -> int:
    """Make a key for a person or a manager: FILE is private and stays there, FILE.pub is for others.

    Parameters
    ----------
    kid
        Its name, used for no other key ever: root/4, director/2, alice/2.
    subject
        Whose it is. Two keys of one subject count as one signature.
    out
        File for the private key.
    passphrase_file
        File of mode 0600 whose first line locks it.
    dry_run
        Check, and make no key.
    """
    if not 0 < len(kid.encode()) <= KID_BYTES_MAX or not 0 < len(subject) <= 80 or not (kid + subject).isprintable():
        raise FolderError(f"a kid is 1..{KID_BYTES_MAX} bytes and a subject 1..80 characters, of printable text")
    if '"' in kid + subject or "\\" in kid + subject:
        raise FolderError("a kid and a subject have neither quotes nor backslashes")
    public = Path(f"{out}.pub")
    _check_new(out, public)
    passphrase = authority.read_passphrase(passphrase_file)
    if dry_run:
        print(f"would write {out} and {public}")
        return 0
    signer = Signer(kid, Ed25519PrivateKey.generate(), passphrase)
    try:
        signer.write(out)
    except TrustError as error:
        raise FolderError(str(error)) from error
    authority.write_new(public, anchor_toml(Anchor(signer.kid, signer.algorithm, signer.public_key, subject)).encode())
    print(f"wrote {out} (keep it) and {public} (hand it on)")
    return 0


@app.command(
    name="rotate-root",
    help_epilogue=(
        "Example: armoire-fleet keys rotate-root --officer root-2.pem.pub --officer root-3.pem.pub "
        "--officer root-4.pem.pub --threshold 2 --trust trust --out root.draft"
    ),
)
def rotate_root(
    *,
    officer: Annotated[tuple[Path, ...], Parameter(negative="")],
    threshold: int,
    trust: Path,
    out: Path,
    dry_run: Flag = False,
) -> int:
    """Draft the change to the next officers' keys. It needs signatures of enough old and enough new officers.

    It comes into force with the next key list, which the new officers sign.

    Parameters
    ----------
    officer
        The public half of an officer's key, as `keys new` wrote it; every officer there will be, new or not.
    threshold
        How many officers must sign from then on, 1..3.
    dry_run
        Show what would change, and write nothing.
    """
    _check_new(out)
    roots, ring = _held(trust)
    handover = keylist.draft_roots(ring, roots, [_public(each) for each in officer], threshold, unix_ms())
    _tell_roots(ring.roots or roots, handover)
    if dry_run:
        return 0
    authority.write_new(out, encode(handover))
    print(f"wrote {out}; old and new officers: armoire-fleet keys sign {out} --key ROOT.pem --trust {trust} --out FILE")
    print(f"then draft a key list; new officers sign it with --root {out}; then keys publish LIST... --root FILE...")
    return 0


def _check_new(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise FolderError(f"{path} exists already, and is never written over; nothing was written")


def _document(ring: KeyRing) -> dict[str, object]:
    keys = [asdict(entry) | {"public_key": entry.public_key.hex()} for entry in ring.entries()]
    times = {"issued_ms": ring.issued_ms, "expires_ms": ring.expires_ms}
    return {"city": ring.city, "version": ring.version, **times, "keys": keys}


def _handover(data: bytes) -> Handover | None:
    try:
        return decode(data, Handover)
    except WireError:
        return None


def _public(path: Path) -> Anchor:
    try:
        return read_anchor(path.read_text())
    except (TrustError, UnicodeDecodeError) as error:
        raise FolderError(f"{path}: {error}") from error


def _tell_roots(held: Roots, handover: Handover) -> None:
    following = roots_of(handover)
    print(f"officers' keys {held.version} -> {following.version}; {held.threshold} -> {following.threshold} must sign")
    for mark, mine, others in (("-", held, following), ("+", following, held), ("=", held, held)):
        for each in mine.anchors:
            if (each in others.anchors) is (mark == "=") and (mark != "=" or each in following.anchors):
                print(f"{mark} {each.kid.decode()}  {each.subject}  {each.public_key.hex()[:16]}")


def _held(trust: Path) -> tuple[Roots, KeyRing]:
    try:
        roots = read_roots((trust / ROOTS_FILE).read_text())
        return roots, load_key_list((trust / KEYS_FILE).read_bytes(), roots)
    except (WireError, TrustError, UnicodeDecodeError) as error:
        raise FolderError(f"{trust}: {error}") from error


def _tell(ring: KeyRing, found: keylist.Changes, version: int) -> None:
    print(f"key list {ring.version} -> {version}")
    for sign_, entries in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        for entry in entries:
            print(_line(sign_, entry))
    if not (found.added or found.removed or found.changed):
        print("  no key changes")


def _line(sign_: str, entry: KeyEntry) -> str:
    until = datetime.fromtimestamp(min(entry.not_after_ms // 1000, YEAR_9999_S), UTC).strftime("%Y-%m-%d")
    what = f"{entry.role} {entry.subject}, {', '.join(entry.capabilities)} for {', '.join(entry.scope)}"
    return f"{sign_} {entry.kid}  {what}  until {until}  {entry.public_key.hex()[:16]}"
