"""Private key files and demonstration keys."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.wire.demotrust import KEYS_FILE, ROOTS_FILE, make_demo_trust
from agent.wire.envelope import ED25519, ESP256, join_set
from agent.wire.errors import CapabilityError
from agent.wire.keyfile import KEY_FILE_BYTES_MAX, KeyFileError, Signer, read_signer
from agent.wire.roots import read_roots
from agent.wire.topics import down, up
from agent.wire.trust import load_key_list
from tests.wire.party import CITY, GATEWAY, T0_MS, signer


@pytest.mark.parametrize("key", [signer("a/1"), Signer("b/1", ec.generate_private_key(ec.SECP256R1()))])
def test_a_key_is_read_as_it_was_written_and_nobody_else_may(key: Signer, tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    key.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    read = read_signer(path)
    assert (read.kid, read.algorithm, read.public_key) == (key.kid, key.algorithm, key.public_key)
    assert read.algorithm in (ED25519, ESP256)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_key_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    signer("a/1").write(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_signer(path)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    signer("a/1").write(path)
    with pytest.raises(KeyFileError, match="not written"):
        signer("b/1").write(path)
    assert read_signer(path).kid == b"a/1"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "first line"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "first line"),
        (b"# kid: a/1\n" + pem(ec.generate_private_key(ec.SECP384R1())), "neither"),
        (b"# kid: a/1\n" + pem(rsa.generate_private_key(65537, 2048)), "neither"),
        (b"# kid: \n" + pem(ec.generate_private_key(ec.SECP256R1())), "1..64"),
        (b"# kid: " + b"x" * 65 + b"\n" + pem(ec.generate_private_key(ec.SECP256R1())), "1..64"),
        (b"# kid: a/1\nno key", "not a private key"),
        (b"# kid: a/1\n" + b"x" * KEY_FILE_BYTES_MAX, "first line|not a private"),
        (b"# kid: \xff\n", "not a private key"),
    ],
)
def test_what_is_no_key_of_ours_is_named(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=reason):
        read_signer(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_no_file_raises_anything_else(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        read_signer(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pem", tmp_path):
        with pytest.raises(KeyFileError, match="cannot be read"):
            read_signer(path)


def test_demonstration_keys_fit_together(tmp_path: Path) -> None:
    make_demo_trust(tmp_path, CITY, [GATEWAY, "gw-monge"], now_ms=T0_MS)
    own = tmp_path / "gateways" / GATEWAY
    ring = load_key_list((own / KEYS_FILE).read_bytes(), read_roots((own / ROOTS_FILE).read_text()))
    assert len(ring) == 4 + 2 * 3
    state, safety = (up(CITY, GATEWAY, name) for name in ("state", "safety"))  # type: ignore[arg-type]
    assert ring.open(read_signer(own / "agent.pem").seal(b"x", state), state, "up", T0_MS).subject == GATEWAY
    assert ring.open(read_signer(own / "guard.pem").seal(b"x", safety), safety, "up", T0_MS).role == "guard"
    cmd = down(CITY, GATEWAY, "cmd")  # type: ignore[arg-type]
    people = [tmp_path / "operators/alice.pem", tmp_path / "operators/bruno.pem", own / "technician.pem"]
    opened = ring.open_set(join_set([read_signer(path).seal(b"x", cmd) for path in people]), cmd, T0_MS)
    assert opened.subjects == ("alice", "bruno", f"{GATEWAY}/tech")
    stranger = read_signer(tmp_path / "gateways/gw-monge/agent.pem")
    with pytest.raises(CapabilityError):
        ring.open(stranger.seal(b"x", state), state, "up", T0_MS)
    for path in tmp_path.rglob("*.pem"):
        assert path.stat().st_mode & 0o777 == 0o600
    offline = sorted(path.name for path in (tmp_path / "offline").iterdir())
    assert offline == ["commissioner.pem", *(f"root-{n}.pem" for n in (1, 2, 3))]


def test_demonstration_keys_are_made_once(tmp_path: Path) -> None:
    make_demo_trust(tmp_path, CITY, [GATEWAY], now_ms=T0_MS)
    with pytest.raises(KeyFileError):
        make_demo_trust(tmp_path, CITY, [GATEWAY], now_ms=T0_MS)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(KeyFileError):
        make_demo_trust(blocked, CITY, [GATEWAY], now_ms=T0_MS)
    assert blocked.is_file()
