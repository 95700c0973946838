"""Keys that stay in a token: SoftHSM, spoken to by PKCS #11 as a TPM or a card would be."""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cli import credentials
from agent.wire import token as token_module
from agent.wire.envelope import ED25519, ESP256
from agent.wire.keyfile import Signer, read_signer
from agent.wire.token import TokenError, TokenKey, TokenUri, make_key, read_uri
from agent.wire.topics import up
from agent.wire.trust import load_key_list
from tests.softtoken import soft_token
from tests.wire.party import CITY, GATEWAY, ROOTS, T0_MS, entry, sealed_list

STATE = up(CITY, GATEWAY, "state")  # type: ignore[arg-type]


@pytest.fixture
def token(require_program: Callable[[str], Path]) -> TokenUri:
    return soft_token(require_program("softhsm2-util"))


def test_a_key_made_in_a_token_signs_what_the_fleet_believes(token: TokenUri, tmp_path: Path) -> None:
    kid = f"{GATEWAY}/agent/1"
    Signer(kid, make_key(token, "agent-1")).write(tmp_path / "agent.pem")
    text = (tmp_path / "agent.pem").read_text()
    assert text.splitlines()[1].startswith("pkcs11:token=armoire;object=agent-1?module-path=/usr")
    assert "4711" not in text
    signer = read_signer(tmp_path / "agent.pem")  # As a process does at its start.
    assert (signer.algorithm, len(signer.public_key)) == (ESP256, 65)
    row = entry(kid, "agent", ("up",), (GATEWAY,), GATEWAY, key=signer)
    ring = load_key_list(sealed_list([row]), ROOTS)
    for n in range(16):  # Half of all signatures come with the upper s.
        assert ring.open(signer.seal(bytes((n,)), STATE), STATE, "up", T0_MS).subject == GATEWAY


def test_the_private_key_cannot_be_read_out(token: TokenUri) -> None:
    import pkcs11

    key = make_key(token, "agent-2")._key
    assert key[pkcs11.Attribute.SENSITIVE]
    assert not key[pkcs11.Attribute.EXTRACTABLE]


def test_a_session_that_ended_is_begun_anew(token: TokenUri) -> None:
    key = make_key(token, "agent-3")
    key._key.session.close()
    assert len(key.sign(b"x")) == 64


def test_a_token_that_hangs_costs_one_time_out_and_signs_again_once_it_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free, asked = threading.Event(), []

    def hang(_key: object, _digest: bytes) -> bytes:
        asked.append(threading.current_thread().daemon)  # Else the process could not end while it hangs.
        assert free.wait(20)
        return b"\x01" * 64

    monkeypatch.setattr(token_module, "_find", lambda _uri: (None, b"\x04" * 65))
    monkeypatch.setattr(token_module, "_sign", hang)
    monkeypatch.setattr(token_module, "SIGN_TIMEOUT_S", 0.05)
    key = TokenKey(TokenUri("armoire", "agent-9", "/no/such/module.so"))
    with pytest.raises(TokenError, match=r"has not answered in 0\.05 s; nothing was signed"):
        key.sign(b"x")
    monkeypatch.setattr(token_module, "SIGN_TIMEOUT_S", 20.0)
    for _ in range(3):  # At once, and it is not asked again.
        with pytest.raises(TokenError, match="still owes an answer; nothing was signed"):
            key.sign(b"x")
    assert asked == [True]
    free.set()
    assert key._asked is not None
    key._asked.join(20)
    assert key.sign(b"x") == b"\x01" * 64


def test_what_is_wrong_with_a_token_is_one_sentence(token: TokenUri, tmp_path: Path) -> None:
    good = make_key(token, "agent-4")._uri
    with pytest.raises(TokenError, match="already"):
        make_key(token, "agent-4")
    open_pin = tmp_path / "open"
    open_pin.write_text("4711")
    open_pin.chmod(0o644)
    for bad, why in (
        (TokenUri("other", "agent-4", good.module, good.pin_source), "other"),
        (TokenUri("armoire", "nobody", good.module, good.pin_source), "token 'armoire'"),
        (TokenUri("armoire", "agent-4", "/no/such/module.so", good.pin_source), "module.so"),
        (TokenUri("armoire", "agent-4", good.module, str(open_pin)), "others may read this PIN"),
        (TokenUri("armoire", "agent-4", good.module, str(tmp_path / "none")), "no file with a PIN"),
    ):
        with pytest.raises(TokenError, match=why):
            TokenKey(bad)


def test_a_wrong_pin_is_told(token: TokenUri, tmp_path: Path) -> None:
    key = make_key(token, "agent-5")
    wrong = str(tmp_path / "wrong")
    Path(wrong).write_text("1234")
    Path(wrong).chmod(0o600)
    text = str(replace(key._uri, pin_source=wrong))
    program = "import sys; from agent.wire.token import TokenKey, read_uri; TokenKey(read_uri(sys.argv[1]))"
    # A process of its own: a login holds for all of a process's sessions.
    asked = subprocess.run(
        [sys.executable, "-c", program, text], capture_output=True, text=True, timeout=30, check=False
    )
    assert asked.returncode == 1
    assert "PinIncorrect" in asked.stderr


@pytest.mark.parametrize(
    "text",
    [
        "", "pkcs11:", "pkcs11:token=a", "pkcs11:object=a?module-path=/m", "http://token=a?module-path=/m",
        "pkcs11:token=a;token=b?module-path=/m", "pkcs11:token=a;colour=b?module-path=/m",
        "pkcs11:token=a?module-path=/m&module-path=/n", "pkcs11:token=%ff?module-path=/m", "pkcs11:token?module-path=/m",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        read_uri(text)


def test_an_address_reads_back_what_was_written() -> None:
    uri = TokenUri("place; de l'ours?", "gw/agent&1", "/usr/lib/p 11.so", "", "1=2&3")
    assert read_uri(str(uri)) == uri


def test_an_enrolment_can_make_the_agents_key_in_a_token_and_makes_the_guards_a_file(
    token: TokenUri, tmp_path: Path
) -> None:
    asked = credentials.prepare(tmp_path, CITY, GATEWAY, ("agent", "guard"), T0_MS, str(token), "SN-17")
    again = credentials.prepare(tmp_path, CITY, GATEWAY, ("agent", "guard"), T0_MS + 1, str(token), "SN-17")
    assert asked.words == again.words  # Taken up, not begun anew.
    _is_in_token_for_the_agent_alone(tmp_path / "enrolment")


def test_a_rotation_can_make_the_agents_key_in_a_token_and_makes_the_guards_a_file(
    token: TokenUri, tmp_path: Path
) -> None:
    (tmp_path / "keys").mkdir()
    for role in ("agent", "guard"):
        Signer.from_seed(f"{GATEWAY}/{role}/1", role.encode() * 6 + b"ab").write(tmp_path / f"keys/{role}.pem")
    homes = {"agent": tmp_path, "guard": tmp_path}
    credentials.prepare_rotation(tmp_path, homes, CITY, GATEWAY, T0_MS, str(token))
    _is_in_token_for_the_agent_alone(tmp_path / "rotation")


def _is_in_token_for_the_agent_alone(folder: Path) -> None:
    for role, algorithm in (("agent", ESP256), ("guard", ED25519)):
        assert ("pkcs11:" in (folder / f"{role}.pem").read_text()) == (role == "agent")
        signer = read_signer(folder / f"{role}.pem")
        assert signer.algorithm == algorithm
        assert signer.kid.decode().startswith(f"{GATEWAY}/{role}/")
