"""A dry run checks what the real run checks, tells what that would do, and leaves every file as it was."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fleet import authority, pki
from fleet.cli import main
from tests.fleet.city import certify, make_authority
from tests.fleet.desk import GATEWAY, OfficersDesk, public_of

Type = Callable[..., tuple[int, str]]


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    def run(*words: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        ended = main([str(word) for word in words])
        shown = capsys.readouterr()
        return ended, shown.out + shown.err

    return run


@pytest.fixture
def tried(type_: Type, tmp_path: Path) -> Callable[..., str]:
    """Type a command with --dry-run; return what it said, having looked that no file came, went or changed."""

    def run(*words: str | Path, ended: int = 0) -> str:
        before = files(tmp_path)
        found, text = type_(*words, "--dry-run")
        assert found == ended, text
        assert files(tmp_path) == before
        return text

    return run


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_issuing_authority_is_tried_before_it_is_made_and_before_it_certifies(
    tried: Callable[..., str], type_: Type, tmp_path: Path
) -> None:
    make_authority(tmp_path / "ca")
    ca, root_key = ("--dir", tmp_path / "ca"), tmp_path / "ca" / authority.ROOT_KEY
    assert "no authority was prepared" in tried("ca", "switch", *ca, ended=4)
    told = tried("ca", "prepare", *ca, "--root-key", root_key)
    assert [line.rpartition("/")[2] for line in told.splitlines()] == [
        "issuing-next.key", "issuing-next.pem", "crl.pem", "ca.pem"
    ]  # fmt: skip
    assert type_("ca", "prepare", *ca, "--root-key", root_key)[0] == 0
    assert "waits for ca switch" in tried("ca", "prepare", *ca, "--root-key", root_key, ended=4)
    assert "dijon issuing 2" in tried("ca", "switch", *ca)
    assert type_("ca", "switch", *ca)[0] == 0
    assert authority.read_issuer(tmp_path / "ca").former


def test_a_prepared_authority_whose_key_is_another_does_not_certify(
    tried: Callable[..., str], type_: Type, tmp_path: Path
) -> None:
    make_authority(tmp_path / "ca")
    ca = ("--dir", tmp_path / "ca")
    assert type_("ca", "prepare", *ca, "--root-key", tmp_path / "ca" / authority.ROOT_KEY)[0] == 0
    (tmp_path / "ca" / authority.NEXT_KEY).unlink()
    authority.write_key(tmp_path / "ca" / authority.NEXT_KEY, pki.new_key())
    assert "is not the key of" in tried("ca", "switch", *ca, ended=4)
    before = files(tmp_path)
    assert type_("ca", "switch", *ca)[0] == 4
    assert files(tmp_path) == before


def test_certificates_of_brokers_and_managers_are_tried(tried: Callable[..., str], type_: Type, tmp_path: Path) -> None:
    make_authority(tmp_path / "ca")
    broker = ("ca", "broker", "room-a", "--host", "127.0.0.1", "--dir", tmp_path / "ca", "--out", tmp_path / "out")
    manager = ("ca", "manager", "control-room", "--dir", tmp_path / "ca", "--out", tmp_path / "tls")
    assert f"would write {tmp_path}/out/broker.key" in tried(*broker)
    assert f"would write {tmp_path}/tls/fleet.key" in tried(*manager)
    assert type_(*broker)[0] == 0
    assert "exists already" in tried(*broker, ended=4)


def test_what_officers_sign_and_publish_is_tried(tried: Callable[..., str], tmp_path: Path) -> None:
    desk = OfficersDesk(tmp_path)
    trust, out = ("--trust", desk.trust), ("--out", tmp_path / "out")
    draft = desk.draft("--remove", "alice/1")
    for key in (desk.officer(1), desk.officer(2)):
        told = tried("keys", "sign", draft, "--key", key, *trust, *out)
        assert ("- alice/1" in told, "nothing was signed" in told) == (True, True)
    assert "no officer's key" in tried(
        "keys", "sign", draft, "--key", desk.trust / "fleet/director.pem", *trust, *out, ended=4
    )
    one, other = desk.sign(draft, desk.officer(1), desk.officer(2))
    assert "1 of the 2 officers needed" in tried("keys", "publish", one, *trust, ended=4)
    told = tried("keys", "publish", one, other, *trust)
    assert ("- alice/1" in told, "1 stays in force" in told) == (True, True)
    desk.run("publish", one, other, *trust)
    assert desk.ring.entry(b"alice/1") is None


def test_new_keys_and_new_officers_are_tried(tried: Callable[..., str], tmp_path: Path) -> None:
    desk = OfficersDesk(tmp_path)
    new = ("keys", "new", "root/4", "--subject", "officer-4", "--out", tmp_path / "root-4.pem")
    assert f"would write {tmp_path}/root-4.pem and {tmp_path}/root-4.pem.pub" in tried(*new)
    (tmp_path / "root-4.pem.pub").write_text("")
    assert "nothing was written" in tried(*new, ended=4)
    assert main([str(each) for each in new]) == 4
    assert not (tmp_path / "root-4.pem").exists()  # Half a pair would be of no use to anybody.
    named = [word for n in (1, 2) for word in ("--officer", public_of(desk, n))]
    rotate = ("keys", "rotate-root", *named, "--trust", desk.trust, "--out", tmp_path / "root.draft")
    assert "- root/3" in tried(*rotate, "--threshold", "2")
    tried(*rotate, "--threshold", "4", ended=4)


def test_the_key_list_and_what_was_certified_are_read_by_programs_too(type_: Type, tmp_path: Path) -> None:
    desk = OfficersDesk(tmp_path)
    shown = msgspec.json.decode(type_("keys", "show", "--trust", desk.trust, "--json")[1])
    assert (shown["city"], shown["version"]) == ("dijon", 1)
    by_kid = {each["kid"]: each for each in shown["keys"]}
    assert (by_kid["alice/1"]["role"], len(by_kid["alice/1"]["public_key"])) == ("operator", 64)
    issuer = make_authority(tmp_path / "ca")
    serial = certify(issuer, GATEWAY, tmp_path / "gw").serial_number
    issuer.revoke([serial], pki.utc_now())
    [row] = msgspec.json.decode(type_("ca", "list", "--dir", tmp_path / "ca", "--json")[1])
    assert (row["name"], row["serial"], row["is_revoked"]) == (GATEWAY, f"{serial:x}", True)
    assert row["not_before"] < row["not_after"]
