"""``armoire-fleet ca``: make the authority, certify brokers and managers, revoke."""

import asyncio
import shlex
import subprocess
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cyclopts import App, Parameter

from fleet import authority, pki
from fleet.cli_document import print_json
from fleet.errors import CertificateError

FAILED = 4
HOLD_S = 5.0
Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="")]

app = App(
    name="ca",
    help="The certificate authority of the links to the brokers.",
    help_epilogue="Example: armoire-fleet ca init --dir ca --city dijon --dry-run",
)


@app.command(help_epilogue="Example: armoire-fleet ca init --dir ca --city dijon --passphrase-file phrase")
def init(
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    city: str,
    passphrase_file: Path | None = None,
    root_passphrase_file: Path | None = None,
    dry_run: Flag = False,
) -> int:
    """Make root and issuing authority, and empty revocation lists. Never overwrites.

    Parameters
    ----------
    dir
        Folder of the authority.
    city
        The city's id.
    passphrase_file
        File of mode 0600 whose first line locks the issuing key.
    root_passphrase_file
        The same for the root's key.
    dry_run
        Check, tell what would be written, and write nothing.
    """
    written = authority.init(
        dir,
        city,
        pki.utc_now(),
        passphrase=authority.read_passphrase(passphrase_file),
        root_passphrase=authority.read_passphrase(root_passphrase_file),
        dry_run=dry_run,
    )
    for path in written:
        print(f"{'would write' if dry_run else 'wrote'} {path}")
    if not dry_run:
        print(f"carry {dir / authority.ROOT_KEY} away now: it is needed again only for a new issuing authority")
    return 0


@app.command(
    help_epilogue="Example: armoire-fleet ca broker room-a --host broker-a.dijon.example --dir ca --out broker-a"
)
def broker(
    name: str,
    *,
    host: Annotated[tuple[str, ...], Parameter(negative="")],
    dir: Path,  # noqa: A002 - the option is called --dir
    out: Path,
    passphrase_file: Path | None = None,
    dry_run: Flag = False,
) -> int:
    """Make a broker's key and certificate: broker.key, broker.pem, ca.pem and crl.pem.

    Parameters
    ----------
    host
        Host name or address clients use; may be given several times.
    out
        Folder for the files; none may exist yet.
    dry_run
        Check, tell what would be written, and write nothing.
    """
    issuer = authority.read_issuer(dir, authority.read_passphrase(passphrase_file))
    key = pki.new_key()
    certificate = pki.broker_certificate(name, host, key.public_key(), issuer.authority, pki.utc_now())
    crl = (dir / authority.CRL).read_bytes()
    _hand_out(issuer, out, "broker", key, certificate, {"ca.pem": issuer.chain, "crl.pem": crl}, dry_run=dry_run)
    return 0


@app.command(name="manager", help_epilogue="Example: armoire-fleet ca manager control-room --dir ca --out fleet/tls")
def fleet_manager(
    name: str,
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    out: Path,
    passphrase_file: Path | None = None,
    dry_run: Flag = False,
) -> int:
    """Make a manager's key and certificate: fleet.key, fleet.pem and ca.pem.

    Parameters
    ----------
    name
        The manager's id, as in ``serve --fleet``.
    out
        The tls folder of the manager; none of the files may exist yet.
    dry_run
        Check, tell what would be written, and write nothing.
    """
    issuer = authority.read_issuer(dir, authority.read_passphrase(passphrase_file))
    key = pki.new_key()
    certificate = pki.manager_certificate(name, key.public_key(), issuer.authority, pki.utc_now())
    _hand_out(issuer, out, "fleet", key, certificate, {"ca.pem": issuer.chain}, dry_run=dry_run)
    return 0


@app.command(help_epilogue="Example: armoire-fleet ca revoke gw-darcy --dir ca")
def revoke(
    name: str,
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    broker: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    reload: str = "",
    hold: float = HOLD_S,
    passphrase_file: Path | None = None,
    dry_run: Flag = False,
) -> int:
    """Put every certificate of a name, or the one of a serial number, on the revocation list, and drop its connection.

    A list stops new connections only. So its place is taken at each --broker, held for a while, and left empty. What
    ends a gateway's word at once is its removal from the key list, wherever it hangs on. Exit code 4 if somebody of
    that name came back, or a broker was not reached.

    Parameters
    ----------
    broker
        A broker, mqtts://host:port, at which to drop the connection; may be given several times.
    reload
        Command that brings the list at $ARMOIRE_CRL to all brokers and makes them read it again.
    hold
        Seconds to keep the place, 0..600. A gateway that was dropped tries again within a minute.
    dry_run
        Tell how many certificates would be revoked; change nothing, drop nobody.
    """
    from fleet.broker_client import run_reload  # These know MQTT, which the other commands do not need.
    from fleet.kick import kick
    from fleet.link import address_of

    brokers = [address_of(url, "mqtts") for url in broker]
    if not 0 <= hold <= 600:
        raise CertificateError(f"--hold: expected 0..600 seconds, found {hold:g}")
    issuer = authority.read_issuer(dir, authority.read_passphrase(passphrase_file))
    found = issuer.issued_to(name)
    if not found:
        raise CertificateError(f"nothing was issued to {name!r}; armoire-fleet ca list shows what was")
    serials = [each.serial_number for each in found]
    if dry_run:
        count = len(set(serials) - issuer.revoked())
        print(f"would revoke {count} of {len(serials)} certificates of {name}")
        return 0
    count = issuer.revoke(serials, pki.utc_now())
    print(f"revoked {count} of {len(serials)} certificates of {name}; the list is {dir / authority.CRL}")
    if reload:
        try:
            run_reload(shlex.split(reload), dir.absolute() / authority.CRL)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            print(f"--reload: {error}; the brokers may not have the list")
            return FAILED
    if not brokers:
        print("copy it to every broker and reload them; connections that stand are not dropped without --broker")
        return 0
    ended = 0
    for each in brokers:
        kicked = asyncio.run(kick(each, issuer, pki.common_name(found[0]), hold))
        print(f"{each.host}:{each.port}: {'dropped' if kicked.is_out else 'NOT DROPPED'}: {kicked.detail}")
        ended = ended if kicked.is_out else FAILED
    return ended


@app.command(help_epilogue="Example: armoire-fleet ca prepare --dir ca --root-key offline/root.key --dry-run")
def prepare(
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    root_key: Path,
    passphrase_file: Path | None = None,
    root_passphrase_file: Path | None = None,
    dry_run: Flag = False,
) -> int:
    """Make the next issuing authority. It certifies nobody yet: first every broker must know it.

    Parameters
    ----------
    root_key
        The root's key, brought back for this.
    dry_run
        Check, tell what would be written, and write nothing.
    """
    phrase, of_root = authority.read_passphrase(passphrase_file), authority.read_passphrase(root_passphrase_file)
    for path in authority.prepare(dir, root_key, pki.utc_now(), phrase, of_root, dry_run=dry_run):
        print(f"{'would write' if dry_run else 'wrote'} {path}")
    if not dry_run:
        print(
            f"copy {dir / authority.CHAIN} and {dir / authority.CRL} to every broker and restart them, then: ca switch"
        )
    return 0


@app.command(help_epilogue="Example: armoire-fleet ca switch --dir ca --dry-run")
def switch(
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    passphrase_file: Path | None = None,
    dry_run: Flag = False,
) -> int:
    """Let the prepared authority certify from now on. Gateways are given it when they renew; the former stays good.

    Parameters
    ----------
    dry_run
        Check that one was prepared and its key opens, and change nothing.
    """
    if dry_run:
        name = authority.prepared(dir, authority.read_passphrase(passphrase_file)).subject.rfc4514_string()
        print(f"{name} would certify from now on; nothing was changed")
        return 0
    issuer = authority.switch(dir, authority.read_passphrase(passphrase_file))
    print(f"{issuer.authority.certificate.subject.rfc4514_string()} certifies from now on")
    return 0


@app.command(name="list", help_epilogue="Example: armoire-fleet ca list --dir ca --json")
def list_(
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """What was issued: whom to, until when, serial number, and whether it is revoked."""
    issuer = authority.read_issuer(dir, authority.read_passphrase(passphrase_file))
    revoked = issuer.revoked()
    if json:
        return print_json([_row(each, is_revoked=each.serial_number in revoked) for each in issuer.issued()])
    for each in issuer.issued():
        state = "revoked" if each.serial_number in revoked else f"until {each.not_valid_after_utc:%Y-%m-%d}"
        print(f"{pki.common_name(each):40}  {state:16}  {each.serial_number:x}")
    return 0


def _row(certificate: x509.Certificate, *, is_revoked: bool) -> dict[str, object]:
    return {
        "name": pki.common_name(certificate),
        "serial": f"{certificate.serial_number:x}",
        "issuer": certificate.issuer.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "is_revoked": is_revoked,
    }


def _hand_out(
    issuer: authority.Issuer,
    out: Path,
    stem: str,
    key: pki.PrivateKey,
    certificate: x509.Certificate,
    others: dict[str, bytes],
    *,
    dry_run: bool,
) -> None:
    names = [f"{stem}.key", f"{stem}.pem", *others]
    for name in names:
        if (out / name).exists():
            raise CertificateError(f"{out / name} exists already; nothing was written or certified")
    if dry_run:
        for name in names:
            print(f"would write {out / name}")
        return
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority.write_key(out / f"{stem}.key", key)
    authority.write_new(out / f"{stem}.pem", issuer.issue(certificate))
    for name, data in others.items():
        authority.write_new(out / name, data)
    for name in names:
        print(f"wrote {out / name}")
