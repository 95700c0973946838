"""``armoire enrol`` and ``armoire renew``: a gateway joins its city, and stays."""

import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agent.cli import credentials, document
from agent.cli.ending import Exit, UnreachableError, UsageError
from agent.cli.est import EnrolmentAddress, EnrolmentRefusedError, Waiting
from agent.cli.link import Link
from agent.cli.options import Json
from agent.cli.words import clean, lease_s
from agent.model.equipment import Bollard, Junction
from agent.model.site import Cabinet
from agent.model.site_file import SiteFileError, read_cabinet
from agent.wire import enrolment
from agent.wire.enrolment import Papers
from agent.wire.errors import MessageError
from agent.wire.keyfile import read_signer
from agent.wire.local import TellFleetSeen
from agent.wire.token import read_uri
from agent.wire.topics import down
from drivers.errors import TextFileError
from drivers.textfile import read_text

KEY_LIST_TIMEOUT_S = 15.0
RESTART = "restart the gateway's processes within a month"
SERIAL_FILES = (Path("/proc/device-tree/serial-number"), Path("/sys/class/dmi/id/product_serial"))
"""Boards with a device tree, and those with a BIOS."""
SitePath = Annotated[Path, Parameter(name="SITE.toml")]
Flag = Annotated[bool, Parameter(negative="")]


def enrol(
    site: SitePath,
    /,
    *,
    fleet: str,
    code: Annotated[str, Parameter(env_var="ARMOIRE_CODE", show_default=False)],
    wait: str = "10m",
    token: str = "",
    serial: str = "",
    dry_run: Flag = False,
    json: Json = False,
) -> Exit:
    """Make this gateway's keys, show six words, and wait until an operator has compared them with you.

    Keys never leave the gateway. If it has keys already, they are replaced once the fleet has answered, and kept beside.
    Break it off whenever you like: the same command takes it up again.

    Args:
        site: The site file.
        fleet: Address of the fleet manager, such as https://fleet.dijon.example.
        code: The one-time code that the control room told you.
        wait: How long to wait for the operator, such as 10m.
        token: Make the agent's signing key (the guard's is always a file) in this token, such as
            pkcs11:token=armoire?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/armoire/pin.
        serial: Serial number of this device; read from the machine if not given. The code may ask for it.
        dry_run: Check site file, address and code; make nothing and ask nobody.
        json: Print one JSON document and nothing else on standard output; the words go to standard error.
    """
    cabinet, state, guards = _cabinet(site)
    address = EnrolmentAddress(fleet)
    secret, wait_s = _secret(code), lease_s(wait)
    if token:
        read_uri(token)
    city, gateway = cabinet.site.city, cabinet.site.gateway
    roles = ("agent", "guard") if _is_guarded(cabinet) else ("agent",)
    if dry_run:
        _say(
            json,
            {"city": city, "gateway": gateway, "keys": [*roles, "tls"], "dry_run": True},
            f"would make keys of {' and '.join(roles)} and for TLS in {state}, and ask {clean(fleet)}",
        )
        return Exit.DONE
    asked = credentials.prepare(state, city, gateway, roles, _unix_ms(), token, _serial(serial))
    words = f"{gateway} in {city}\n\n    {asked.words}\n\nRead these six words to the control room."
    print(words, file=sys.stderr if json else sys.stdout, flush=True)
    papers = _wait_papers(address, asked, secret, wait_s)
    credentials.check_certificate(papers.certificate, papers.ca, asked, gateway, datetime.now(UTC))
    _, ring = credentials.check_keys(papers, city)
    own = _kids(state, roles)
    kept = credentials.install(state, guards, papers, fleet, f"{_unix_ms()}")
    is_signed = own <= {entry.kid for entry in ring.entries()}
    before = [str(folder) for folder in kept]
    lines = [f"enrolled; key list {ring.version}. Restart the gateway's processes to use the new keys."]
    if not is_signed:
        lines.append("The officers have not signed the new keys yet: records are kept until the fleet believes them.")
    lines += (f"what was there before is in {folder}" for folder in before)
    answer: dict[str, document.Json] = {"city": city, "gateway": gateway, "words": asked.words}
    answer |= {"kids": sorted(own), "key_list": ring.version, "signed": is_signed, "before": before}
    _say(json, answer, *lines)
    return Exit.DONE


def renew(
    site: SitePath,
    /,
    *,
    fleet: str = "",
    now: Flag = False,
    new_keys: Flag = False,
    token: str = "",
    dry_run: Flag = False,
    json: Json = False,
) -> Exit:
    """Renew the certificate for the broker if it is time, and take a newer key list along. Run it daily.

    It is time between half and two thirds of a certificate's life, at each gateway at another moment. One that is over
    is renewed too, as long as the gateway's signing key is registered.

    Args:
        site: The site file.
        fleet: Address of the fleet manager; the one it enrolled at if not given.
        now: Renew whether or not it is time.
        new_keys: Renew now, and ask for new signing keys too. They are put in place by a later run, once the city's
            officers have signed them; the present ones stay good for a while.
        token: Make the agent's new signing key in this token, as in `armoire enrol`.
        dry_run: Say whether it is time; ask nobody.
        json: Print one JSON document and nothing else on standard output.
    """
    cabinet, state, guards = _cabinet(site)
    gateway = cabinet.site.gateway
    is_due, end = credentials.renewal_due(state, _unix_ms())
    homes = {"agent": state} | ({"guard": guards} if _is_guarded(cabinet) else {})
    if not (dry_run or is_due or now or new_keys):
        for kid in credentials.adopt_rotation(state, homes):
            print(f"{kid} is in place: {RESTART}", file=sys.stderr)
    if dry_run or not (is_due or now or new_keys):
        text = f"{'time to renew' if is_due else 'not yet time'}; the certificate ends on {end:%Y-%m-%d}"
        _say(json, {"gateway": gateway, "due": is_due, "renewed": False, "ends_s": int(end.timestamp())}, text)
        return Exit.DONE
    try:
        url = fleet or (state / credentials.TLS / credentials.URL_FILE).read_text()
        ca = (state / credentials.TLS / credentials.CA_FILE).read_text()
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}", advice="enrol the gateway first") from error
    version, lines = _renew(cabinet, homes, (url, ca), token if new_keys else None)
    _, end = credentials.renewal_due(state, _unix_ms())
    lines.insert(0, f"renewed until {end:%Y-%m-%d}; used from the next connection on")
    answer: dict[str, document.Json] = {
        "gateway": gateway,
        "due": is_due,
        "renewed": True,
        "ends_s": int(end.timestamp()),
        "key_list": version,
    }
    _say(json, answer, *lines)
    return Exit.DONE


def _renew(
    cabinet: Cabinet, homes: dict[str, Path], place: tuple[str, str], token: str | None
) -> tuple[int | None, list[str]]:
    """Renew at an address, with the authorities held; the key list that came along, and what else to say.

    Args:
        token: None for a certificate alone; else new signing keys too, the agent's in this token or all in files.
    """
    city, gateway, state = cabinet.site.city, cabinet.site.gateway, homes["agent"]
    url, held = place
    if token is None:
        asked = credentials.prepare_renewal(state, city, gateway, _unix_ms())
    else:
        asked = credentials.prepare_rotation(state, homes, city, gateway, _unix_ms(), token)
    papers = EnrolmentAddress(url).renew(asked.request)
    ca = credentials.check_authorities(papers.ca, held)
    credentials.check_certificate(papers.certificate, ca, asked, gateway, datetime.now(UTC))
    credentials.install_renewal(state, asked, papers.certificate, ca)
    topic = str(down(city, gateway, "keys"))
    taken = [_hand_over(Link(name, at / f"{name}.sock"), at, topic, papers.keys) for name, at in homes.items()]
    version = next((each for each in taken if each is not None), None)
    lines = [] if version is None else [f"took key list {version}"]
    adopted = credentials.adopt_rotation(state, homes)
    lines += (f"{kid} is in place: {RESTART}" for kid in adopted)
    if token is not None and not adopted:
        lines.append("new signing keys are made; a later run puts them in place, once the officers have signed them")
    return version, lines


def _hand_over(link: Link, folder: Path, topic: str, sealed: bytes) -> int | None:
    """Give a key list to a process that runs, else to its disk; the version if it is a newer one.

    Raises:
        KeyListError, FailedError: it is not to be believed; what was in force stays.
    """
    before = credentials.held_version(folder)
    try:
        link.ask(TellFleetSeen(topic, sealed), KEY_LIST_TIMEOUT_S)
    except UnreachableError:
        credentials.take_key_list(folder, sealed)
    after = credentials.held_version(folder)
    return after if after > before else None


def _wait_papers(address: EnrolmentAddress, asked: credentials.Asked, secret: bytes, wait_s: int) -> Papers:
    end_s = time.monotonic() + wait_s
    while True:  # Until the time is up.
        answer = address.enrol(asked.request, secret)
        if not isinstance(answer, Waiting):
            return answer
        if time.monotonic() + answer.retry_s > end_s:
            raise EnrolmentRefusedError(
                "no operator has approved it in time", "the request still waits", "the same command takes it up again"
            )
        time.sleep(answer.retry_s)


def _secret(code: str) -> bytes:
    try:
        return enrolment.read_code(code)
    except MessageError as error:
        raise UsageError(str(error), "nothing was made", "ask the control room to read it again") from error


def _serial(said: str) -> str:
    """What the technician says, else the machine; empty if neither knows."""
    if said:
        if len(said) > enrolment.SERIAL_LENGTH_MAX or not said.isprintable():
            raise UsageError(f"a serial number has at most {enrolment.SERIAL_LENGTH_MAX} printable characters")
        return said
    for path in SERIAL_FILES:
        with suppress(OSError, UnicodeDecodeError):
            found = path.read_text().strip(" \0\n")[: enrolment.SERIAL_LENGTH_MAX]
            if found and found.isprintable():
                return found
    return ""


def _kids(state: Path, roles: tuple[str, ...]) -> set[str]:
    return {read_signer(state / credentials.PENDING / f"{role}.pem").kid.decode() for role in roles}


def _cabinet(site: Path) -> tuple[Cabinet, Path, Path]:
    """The site, and the state folders of agent and guard; a cabinet without guard has one."""
    try:
        cabinet = read_cabinet(read_text(site), site.name)
    except (TextFileError, SiteFileError) as error:
        raise UsageError(clean(str(error)), "nothing was made", f"see `armoire check {clean(str(site))}`") from error
    state = site.parent / cabinet.state
    guards = site.parent / cabinet.guards_folder if _is_guarded(cabinet) else state
    for folder in (state, guards):
        if not folder.is_dir():
            advice = "make it as docs/technician.md says, owned by the user of its process"
            raise UsageError(f"there is no state folder {clean(str(folder))}", "nothing was made", advice)
    return cabinet, state, guards


def _is_guarded(cabinet: Cabinet) -> bool:
    return any(isinstance(each, Junction | Bollard) for each in cabinet.site.equipment.values())


def _say(is_json: bool, answer: dict[str, document.Json], *lines: str) -> None:
    for line in (document.dumps(answer),) if is_json else lines:
        print(line)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
