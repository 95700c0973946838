"""``armoire-fleet broker``: write a broker's configuration, and try whether a running broker keeps to it."""

import asyncio
import logging
import shlex
import tempfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated

from cyclopts import App, Parameter

from agent.model.identity import is_id
from fleet import authority, broker_config
from fleet.broker_config import BrokerSettings
from fleet.cli_document import print_json
from fleet.errors import FolderError

FAILED = 4
Flag = Annotated[bool, Parameter(negative="")]
ETC = PurePosixPath("/etc/mosquitto/armoire")

app = App(
    name="broker",
    help="The production broker: mosquitto 2.x.",
    help_epilogue="Example: armoire-fleet broker config --city dijon --manager control-room --listen 10.0.0.5:8883 --out broker-a",
)


@app.command(
    help_epilogue="Example: armoire-fleet broker config --city dijon --manager control-room --listen 10.0.0.5:8883 --out broker-a"
)
def config(
    *,
    city: str,
    manager: Annotated[tuple[str, ...], Parameter(negative="")],
    listen: str,
    out: Path,
    etc: PurePosixPath = ETC,
    user: str = "mosquitto",
    connections: int = broker_config.CONNECTIONS_MAX,
    replace: Flag = False,
    dry_run: Flag = False,
) -> int:
    """Write mosquitto.conf and acl.

    Parameters
    ----------
    manager
        Id of a fleet manager that may use it; may be given several times.
    listen
        Address and port, such as 10.0.0.5:8883.
    out
        Folder to write to.
    etc
        Where these files, and ca.pem, broker.pem, broker.key and crl.pem, will lie on the broker's machine.
    user
        Account mosquitto runs as when root starts it.
    replace
        Write over files of these names.
    dry_run
        Print both files and write nothing.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise FolderError(f"--listen: expected address:port, found {listen[:80]!r}")
    settings = BrokerSettings(city, manager, host.strip("[]"), int(port), etc, etc, user, connections)
    files = {
        broker_config.CONFIG_FILE: broker_config.mosquitto_conf(settings),
        broker_config.ACL_FILE: broker_config.acl(settings),
    }
    if not replace:
        for name in files:
            if (out / name).exists():
                raise FolderError(f"{out / name} exists already; nothing was written. --replace writes over it")
    if dry_run:
        for name, text in files.items():
            print(f"# ---- {name}\n{text}")
        return 0
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        authority.replace(out / name, text.encode(), 0o644)
        print(f"wrote {out / name}")
    return 0


@app.command(help_epilogue="Example: armoire-fleet broker check mqtts://broker-a.dijon.example --city dijon --dir ca")
def check(
    url: str,
    *,
    city: str,
    dir: Path,  # noqa: A002 - the option is called --dir
    other: str = "",
    reload: str = "",
    passphrase_file: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Try whether a running broker keeps to its configuration, by what it delivers. Exit code 4 if it does not.

    Nothing real is touched: the parts of two gateways are played by check-a and check-b, with certificates for a day.

    Parameters
    ----------
    url
        The broker, mqtts://host:port.
    dir
        Folder of the authority.
    other
        The second broker, which must hear nothing of the first.
    reload
        Command that brings the list at $ARMOIRE_CRL to the broker and makes it read it again; without, revocation is
        not tried.
    """
    from fleet.broker_check import Check
    from fleet.broker_client import run_reload
    from fleet.link import Broker, address_of

    if not is_id(city):
        raise FolderError(f"--city: expected 1..40 characters a-z, 0-9 and -, found {city[:60]!r}")
    logging.getLogger("mqtt").setLevel(logging.CRITICAL + 1)  # Refusals are what we came for.
    issuer = authority.read_issuer(dir, authority.read_passphrase(passphrase_file))
    brokers: list[Broker] = [address_of(each, "mqtts") for each in (url, other) if each]
    reloading = partial(run_reload, shlex.split(reload), dir.absolute() / authority.CRL) if reload else None
    with tempfile.TemporaryDirectory() as folder:
        second = brokers[1] if other else None
        trial = Check(city, brokers[0], issuer, Path(folder), second, reloading)
        findings = asyncio.run(trial.run())
    if json:
        print_json(findings)
    for each in () if json else findings:
        word = {True: "holds", False: "BROKEN", None: "not tried"}[each.holds]
        print(f"{word:9}  {each.promise}{': ' if each.detail else ''}{each.detail}")
    return 0 if all(each.holds is not False for each in findings) and any(each.holds for each in findings) else FAILED
