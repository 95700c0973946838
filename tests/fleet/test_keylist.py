"""The officers' desk: keys made, replaced with an overlap, and the officers themselves changed; on the command line."""

import shutil
import stat
from pathlib import Path

import pytest

from agent.wire.errors import KeyListError, UnknownKeyError
from agent.wire.keyfile import KeyFileError, read_signer
from agent.wire.roots import read_roots
from agent.wire.topics import down
from tests.fleet.desk import CITY, GATEWAY, OfficersDesk, public_of
from tests.fleet.standin import unix_ms

DAY_MS = 86_400_000


@pytest.fixture
def desk(tmp_path: Path) -> OfficersDesk:
    return OfficersDesk(tmp_path)


def test_a_directors_key_is_replaced_with_both_good_until_the_old_one_ends(desk: OfficersDesk) -> None:
    new = desk.new("director/2", "director")
    draft = desk.draft("--replace", f"director/1={new}.pub", "--overlap", "30")
    desk.run("publish", *desk.sign(draft, desk.officer(1), desk.officer(2)), "--trust", desk.trust)
    topic = down(CITY, GATEWAY, "ack")  # type: ignore[arg-type]
    ring, now_ms = desk.ring, unix_ms()
    old = read_signer(desk.trust / "fleet/director.pem").seal(b"x", topic)
    fresh = read_signer(new).seal(b"x", topic)
    for at_ms, sealed in ((now_ms, old), (now_ms, fresh), (now_ms + 29 * DAY_MS, old), (now_ms + 31 * DAY_MS, fresh)):
        assert ring.open(sealed, topic, "ack", at_ms).subject == "director"
    with pytest.raises(UnknownKeyError, match="validity"):
        ring.open(old, topic, "ack", now_ms + 31 * DAY_MS)


def test_a_replacement_needs_a_key_that_is_there_and_a_name_that_is_not(
    desk: OfficersDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    new = desk.new("alice/2", "alice")
    out = desk.folder / "draft"
    common = ("draft", "--trust", desk.trust, "--out", out)
    desk.run(*common, "--replace", f"carol/1={new}.pub", expected=4)
    assert "no key 'carol/1'" in capsys.readouterr().err
    shutil.copy(f"{new}.pub", desk.folder / "same.pub")
    text = (desk.folder / "same.pub").read_text().replace("alice/2", "alice/1")
    (desk.folder / "same.pub").write_text(text)
    desk.run(*common, "--replace", f"bruno/1={desk.folder / 'same.pub'}", expected=4)
    assert "a new key has a new name" in capsys.readouterr().err
    desk.run(*common, "--replace", f"alice/1={desk.officer(1)}", expected=4)
    assert "not the public half" in capsys.readouterr().err
    desk.run(*common, "--replace", f"alice/1={new}.pub", "--dry-run")
    assert "+ alice/2" in capsys.readouterr().out
    assert not out.exists()


def test_the_officers_change_and_a_gateway_with_the_first_roots_follows(
    desk: OfficersDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    fourth = desk.new("root/4", "officer-4")
    publics = [str(public_of(desk, 2)), str(public_of(desk, 3)), f"{fourth}.pub"]
    root = desk.folder / "root.draft"
    named = [word for public in publics for word in ("--officer", public)]
    desk.run("rotate-root", *named, "--threshold", "2", "--trust", desk.trust, "--out", root)
    shown = capsys.readouterr().out
    assert "officers' keys 1 -> 2" in shown
    assert {"- root/1", "+ root/4", "= root/2"} <= {line[:8] for line in shown.splitlines()}
    handed_over = desk.sign(root, desk.officer(1), desk.officer(2), fourth)
    by_new = desk.sign(draft := desk.draft(), desk.officer(2), fourth, root=root)

    few = [word for each in handed_over[:2] for word in ("--root", each)]  # Two old officers, one of them a new one.
    desk.run("publish", *by_new, *few, "--trust", desk.trust, expected=4)
    assert "1 of the 2 officers needed (officers' keys 2)" in capsys.readouterr().err
    enough = [word for each in handed_over for word in ("--root", each)]
    by_old = desk.sign(draft, desk.officer(1), desk.officer(2))
    desk.run("publish", *by_old, *enough, "--trust", desk.trust, expected=4)  # The old ones sign no list with it.
    desk.run("publish", *by_new, *enough, "--trust", desk.trust)
    ring = desk.ring
    assert ring.version == 2
    assert ring.roots is not None
    assert ring.roots.version == 2

    out = desk.folder / "no"
    draft = desk.draft("--remove", "alice/1")
    desk.run("sign", draft, "--key", desk.officer(1), "--trust", desk.trust, "--out", out, expected=4)
    assert "root/1 is no officer's key" in capsys.readouterr().err
    desk.run("publish", *desk.sign(draft, desk.officer(3), fourth), "--trust", desk.trust)
    assert desk.ring.version == 3  # Its list still brings the handover along.


def test_an_officers_key_may_be_locked_with_a_passphrase(
    desk: OfficersDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    phrase = desk.folder / "phrase"
    phrase.write_text("rue de la liberté\n")
    phrase.chmod(0o600)
    key = desk.folder / "root-5.pem"
    desk.run("new", "root/5", "--subject", "officer-5", "--out", key, "--passphrase-file", phrase)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in key.read_bytes()
    with pytest.raises(KeyFileError):
        read_signer(key)
    with pytest.raises(KeyFileError):
        read_signer(key, b"another")
    assert read_signer(key, phrase.read_text().strip().encode()).kid == b"root/5"
    desk.run("new", "root/5", "--subject", "officer-5", "--out", key, expected=4)  # Never overwritten.
    phrase.chmod(0o644)
    other = desk.folder / "root-6.pem"
    desk.run("new", "root/6", "--subject", "o", "--out", other, "--passphrase-file", phrase, expected=4)
    assert "others may read this passphrase" in capsys.readouterr().err


def test_the_old_list_played_again_is_older(desk: OfficersDesk) -> None:
    first = (desk.trust / "keys.sealed").read_bytes()
    desk.run("publish", *desk.sign(desk.draft(), desk.officer(1), desk.officer(2)), "--trust", desk.trust)
    with pytest.raises(KeyListError, match="older than 2"):
        desk.ring.replaced_by(first, read_roots((desk.trust / "roots.toml").read_text()))
