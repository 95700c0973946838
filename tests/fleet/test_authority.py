"""The certificate authority in its folder: what it writes, whom it certifies, what it refuses."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleet import authority, pki
from fleet.cli import main
from fleet.errors import CertificateError
from tests.fleet.city import CITY, certify, make_authority, request_for

KEY = pki.new_key()
REQUEST = request_for("gw-darcy", KEY).public_bytes(serialization.Encoding.DER)
_TBS = x509.load_der_x509_csr(REQUEST).tbs_certrequest_bytes
SIGNED = st.integers(REQUEST.index(_TBS), REQUEST.index(_TBS) + len(_TBS) - 1)


def test_ca_init_writes_private_keys_for_the_owner_alone_and_never_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ca", "init", "--dir", str(tmp_path / "ca"), "--city", CITY]
    assert main([*words, "--dry-run"]) == 0
    assert not (tmp_path / "ca").exists()
    assert main(words) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "ca").rglob("*") if path.is_file()}
    assert {path.name for path in before if stat.S_IMODE(path.stat().st_mode) == 0o600} == {"root.key", "issuing.key"}
    assert main(words) == 4
    assert "never overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "ca").rglob("*") if path.is_file()} == before


def test_a_key_with_a_passphrase_opens_with_it_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse\n")
    words = ["ca", "init", "--dir", str(tmp_path / "ca"), "--city", CITY, "--passphrase-file", str(phrase)]
    assert main(words) == 4
    assert "chmod 600" in capsys.readouterr().err
    phrase.chmod(0o600)
    assert main(words) == 0
    assert b"ENCRYPTED" in (tmp_path / "ca/issuing.key").read_bytes()
    with pytest.raises(CertificateError, match="cannot be read"):
        authority.read_issuer(tmp_path / "ca")
    with pytest.raises(CertificateError, match="cannot be read"):
        authority.read_issuer(tmp_path / "ca", b"another")
    assert authority.read_issuer(tmp_path / "ca", b"correct horse").revoked() == frozenset()


def test_a_key_others_may_read_is_not_used(tmp_path: Path) -> None:
    make_authority(tmp_path)
    (tmp_path / "issuing.key").chmod(0o640)
    with pytest.raises(CertificateError, match="chmod 600"):
        authority.read_issuer(tmp_path)


def test_the_chain_is_good_to_the_root_and_to_no_other(tmp_path: Path) -> None:
    issuer, other = make_authority(tmp_path / "a"), make_authority(tmp_path / "b")
    certificate = certify(issuer, "gw-darcy", tmp_path / "gw")
    for folder, is_good in ((issuer.folder, True), (other.folder, False)):
        root = authority.read_certificates(folder / "root.pem")[0]
        verifier = PolicyBuilder().store(Store([root])).time(pki.utc_now()).build_client_verifier()
        if is_good:
            assert verifier.verify(certificate, [issuer.authority.certificate]).subjects
        else:
            with pytest.raises(x509.verification.VerificationError):
                verifier.verify(certificate, [issuer.authority.certificate])


def test_a_gateway_is_certified_as_a_client_for_180_days_under_its_name_alone(tmp_path: Path) -> None:
    issuer = make_authority(tmp_path)
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Mallory"), x509.NameAttribute(NameOID.COMMON_NAME, "gw-darcy")]
    )
    wish = x509.SubjectAlternativeName([x509.DNSName("fleet.example")])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(wish, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    now = pki.utc_now()
    certificate = pki.gateway_certificate(request, "gw-darcy", issuer.authority, now)
    assert certificate.not_valid_after_utc - now == timedelta(days=180)
    assert [each.value for each in certificate.subject] == ["Armoire dijon", "gw-darcy"]
    extensions = certificate.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [each.value for each in names] == ["urn:armoire:gateway:gw-darcy"]


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    issuer = make_authority(tmp_path).authority
    end = issuer.certificate.not_valid_after_utc
    late = pki.gateway_certificate(request_for("gw-darcy", KEY), "gw-darcy", issuer, end - timedelta(days=3))
    assert late.not_valid_after_utc == end
    with pytest.raises(CertificateError, match="issuing authority ended"):
        pki.gateway_certificate(request_for("gw-darcy", KEY), "gw-darcy", issuer, end)


@pytest.mark.parametrize("name", ["fleet", "Gw", "a/b", "+", "#", "", "a" * 41])
def test_a_name_that_is_no_gateways_is_not_certified(name: str, tmp_path: Path) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or "x")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
    with pytest.raises(CertificateError):
        pki.gateway_certificate(request, name, make_authority(tmp_path).authority, pki.utc_now())


def test_a_request_for_another_gateway_or_of_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    issuer = make_authority(tmp_path).authority
    with pytest.raises(CertificateError, match="not for 'gw-monge'"):
        pki.gateway_certificate(request_for("gw-darcy", KEY), "gw-monge", issuer, pki.utc_now())
    key = rsa.generate_private_key(65_537, 2_048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gw-darcy")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    with pytest.raises(CertificateError, match="P-256"):
        pki.gateway_certificate(request, "gw-darcy", issuer, pki.utc_now())


def test_what_is_revoked_stays_revoked_and_the_list_lasts_as_long_as_the_authority(tmp_path: Path) -> None:
    issuer = make_authority(tmp_path / "ca")
    first, second = (certify(issuer, name, tmp_path / name) for name in ("gw-darcy", "gw-monge"))
    assert issuer.revoke([first.serial_number], pki.utc_now()) == 1
    assert issuer.revoke([first.serial_number, second.serial_number], pki.utc_now()) == 1
    assert authority.read_issuer(issuer.folder).revoked() == {first.serial_number, second.serial_number}
    data = (issuer.folder / "crl.pem").read_bytes()
    assert data.count(b"BEGIN X509 CRL") == 2
    last = x509.load_pem_x509_crl(data[data.rindex(b"-----BEGIN") :])
    assert last.next_update_utc == issuer.authority.certificate.not_valid_after_utc
    assert last.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3


def test_the_command_line_certifies_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca = ["--dir", str(tmp_path / "ca")]
    assert main(["ca", "init", *ca, "--city", CITY]) == 0
    out = str(tmp_path / "b")
    assert main(["ca", "broker", "room-a", "--host", "broker.example", "--host", "10.0.0.5", *ca, "--out", out]) == 0
    assert stat.S_IMODE((tmp_path / "b/broker.key").stat().st_mode) == 0o600
    assert main(["ca", "broker", "room-a", "--host", "x", *ca, "--out", out]) == 4
    assert main(["ca", "broker", "room-b", "--host", "no host", *ca, "--out", str(tmp_path / "c")]) == 4
    assert main(["ca", "manager", "control-room", *ca, "--out", str(tmp_path / "tls")]) == 0
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == ["ca.pem", "fleet.key", "fleet.pem"]
    assert main(["ca", "revoke", "nobody", *ca]) == 4
    assert main(["ca", "revoke", "broker/room-a", *ca, "--dry-run"]) == 0
    capsys.readouterr()
    assert main(["ca", "list", *ca]) == 0
    assert "revoked" not in capsys.readouterr().out
    assert main(["ca", "revoke", "broker/room-a", *ca]) == 0
    capsys.readouterr()
    assert main(["ca", "list", *ca]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["revoked", "until"]


@given(st.binary(max_size=400))
@example(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
@example(b"\x30" * 17_000)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(CertificateError):
        pki.read_request(data)


@settings(max_examples=1_000)
@given(SIGNED, st.integers(0, 7))
@example(7, 0)  # The version.
def test_no_bit_of_what_a_request_signs_can_be_changed(at: int, bit: int) -> None:
    bent = bytearray(REQUEST)
    bent[at] ^= 1 << bit
    with pytest.raises(CertificateError):
        pki.read_request(bytes(bent))


def test_a_request_is_read_in_each_of_its_forms() -> None:
    import base64

    request = request_for("gw-darcy", KEY)
    for form in (REQUEST, base64.encodebytes(REQUEST), request.public_bytes(serialization.Encoding.PEM)):
        pki.check_request(pki.read_request(form), "gw-darcy")
