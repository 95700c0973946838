"""``armoire-fleet keys``: the key list, from the draft over the officers' signatures to the list in force."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from agent.wire.errors import TrustError, WireError
from agent.wire.keyfile import read_signer
from agent.wire.messages import encode
from agent.wire.roots import Roots, read_roots
from agent.wire.trust import KeyEntry, KeyRing, load_key_list
from fleet import authority, keylist
from fleet.control_room import unix_ms
from fleet.errors import FolderError
from fleet.folder import KEYS_FILE, ROOTS_FILE

app = App(
    name="keys",
    help="The key list: whom everybody believes. Signed by the officers, its version only rises.",
    help_epilogue="Example: armoire-fleet keys draft --trust trust --dir fleet --out keys.draft",
)


@app.command(help_epilogue="Example: armoire-fleet keys show --trust trust")
def show(*, trust: Path) -> int:
    """Every key of the list in force."""
    _, ring = _held(trust)
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
    days: int = keylist.LIST_DAYS,
) -> int:
    """Write the next key list for the officers to sign: keys of approved gateways in, earlier ones of theirs out.

    Parameters
    ----------
    trust
        Folder with roots.toml and keys.sealed.
    dir
        Folder of the manager, for the requests that were approved there.
    remove
        A key to take out, by its kid; may be given several times.
    days
        Until the list must be signed anew, 1..3650.
    """
    if not 1 <= days <= 3_650:
        raise FolderError(f"--days: expected 1..3650, found {days}")
    _, ring = _held(trust)
    drafted = keylist.draft(ring, keylist.read_approved(dir) if dir else [], remove, unix_ms(), days)
    authority.write_new(out, encode(drafted))
    _tell(ring, keylist.changes(ring, drafted), drafted.version)
    print(f"wrote {out}; each officer: armoire-fleet keys sign {out} --key ROOT.pem --trust {trust} --out FILE")
    return 0


@app.command(
    help_epilogue="Example: armoire-fleet keys sign keys.draft --key root-1.pem --trust trust --out keys.signed-1"
)
def sign(file: Path, *, key: Path, trust: Path, out: Path) -> int:
    """Show what a draft changes, and sign it as an officer. Needs no network."""
    roots, ring = _held(trust)
    data = file.read_bytes()
    drafted = keylist.read_draft(data, roots)
    _tell(ring, keylist.changes(ring, drafted), drafted.version)
    try:
        officer = read_signer(key)
    except TrustError as error:
        raise FolderError(str(error)) from error
    authority.write_new(out, keylist.sign(data, officer, roots))
    print(f"signed as {officer.kid.decode()}: {out}")
    return 0


@app.command(help_epilogue="Example: armoire-fleet keys publish keys.signed-1 keys.signed-2 --trust trust")
def publish(*files: Path, trust: Path) -> int:
    """Put a list that enough officers have signed in force. A running manager takes it within ten seconds."""
    roots, ring = _held(trust)
    newer = keylist.publish([file.read_bytes() for file in files], roots, ring, trust)
    print(f"key list {newer.version} is in force, {len(newer)} keys")
    return 0


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
    what = f"{entry.role} {entry.subject}, {', '.join(entry.capabilities)} for {', '.join(entry.scope)}"
    return f"{sign_} {entry.kid}  {what}  {entry.public_key.hex()[:16]}"
