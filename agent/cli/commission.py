"""``armoire commission``: prove a site's facts and sign them, on the engineer's computer, without a cabinet."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agent.cli import document
from agent.cli.commission_page import as_document, lines, proved
from agent.cli.ending import Exit, FailedError, UsageError
from agent.cli.options import Json
from agent.cli.words import clean
from agent.commission.proof import JunctionProof, Report, prove, report_on
from agent.model.equipment import Junction
from agent.model.site import Cabinet
from agent.model.site_file import SiteFileError, read_cabinet
from agent.wire.commissioning import open_sealed, seal_facts, signature_path
from agent.wire.durablefile import replace_durably
from agent.wire.errors import TrustError
from agent.wire.keyfile import read_signer
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from drivers.errors import TextFileError
from drivers.textfile import read_bytes, read_text

SitePath = Annotated[Path, Parameter(name="SITE.toml")]
NOT_SIGNED = "nothing was signed"


def check(site: SitePath, /, *, json: Json = False) -> Exit:
    """Prove a site's facts: every reachable state of every junction, plausibility, and a solver's second opinion.

    Prints what was proven, or what is wrong and a trace that shows it. Ends with 0 if the site may be signed, 4 if not,
    7 if it may and z3 is not installed, so that nobody gave a second opinion.

    Args:
        site: The site file.
        json: Print one JSON document and nothing else on standard output.
    """
    cabinet = _cabinet(site)
    report, seconds = _checked(cabinet)
    if json:
        print(document.dumps(as_document(str(site), cabinet, report, seconds)))
    else:
        for line in lines(str(site), cabinet, report, seconds):
            print(line)
    return _exit(report)


def sign(
    site: SitePath,
    /,
    *,
    key: Annotated[Path, Parameter(env_var="ARMOIRE_KEY")],
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> Exit:
    """Check a site, then sign its facts with a commissioner's key into SITE.toml.sig; refused unless the check is clean.

    The guard looks at the signature when it starts: restart it afterwards. If the cabinet's own key list lies in its
    state folder, the signature is held against it first.

    Args:
        site: The site file.
        key: The commissioner's private key.
        dry_run: Check everything and write nothing.
        json: Print one JSON document and nothing else on standard output.
    """
    cabinet, home = _cabinet(site), site.parent
    signer = read_signer(key)
    report, seconds = _checked(cabinet)
    if not report.is_clean:
        for line in lines(str(site), cabinet, report, seconds):
            print(line, file=sys.stderr)
        raise FailedError("the check found what is told above", NOT_SIGNED, "correct the site file and sign again")
    sealed = seal_facts(
        signer,
        cabinet,
        home,
        signed_ms=time.time_ns() // 1_000_000,
        tool=_tool(),
        report=report.digest(),
        proved=proved(report),
    )
    ring = _ring(home / cabinet.state / "keys")
    if ring is not None:
        try:
            open_sealed(ring, cabinet, home, sealed)
        except TrustError as error:
            raise FailedError(f"this cabinet would not believe the signature: {error}", NOT_SIGNED) from error
    place = signature_path(home, cabinet)
    if not dry_run:
        replace_durably(place, sealed)
    if json:
        told = as_document(str(site), cabinet, report, seconds)
        held: document.Json = None if ring is None else ring.version
        print(document.dumps({**told, "signature": str(place), "written": not dry_run, "key_list": held}))
    else:
        for line in _signed(place, signer.kid.decode(), report, ring, dry_run):
            print(line)
    return _exit(report)


def _signed(place: Path, kid: str, report: Report, ring: KeyRing | None, dry_run: bool) -> Iterator[str]:
    yield f"{clean(str(place))}: {'would be signed' if dry_run else 'signed'} by {clean(kid)}; {proved(report)}"
    if ring is None:
        yield "no key list lies in the state folder: whether the cabinet knows this key was not checked"
    yield "Dry run: nothing was written." if dry_run else "Restart the guard: it looks at the signature when it starts."


def _cabinet(site: Path) -> Cabinet:
    try:
        return read_cabinet(read_text(site), site.name)
    except TextFileError as error:
        raise UsageError(clean(str(error)), NOT_SIGNED) from error
    except SiteFileError as error:
        for problem in error.problems:
            print(clean(problem), file=sys.stderr)
        raise UsageError(
            "the site file has the problems told above", NOT_SIGNED, "correct it and check again"
        ) from error


def _checked(cabinet: Cabinet) -> tuple[Report, dict[str, float]]:
    """The report, and how long each junction took."""
    seconds: dict[str, float] = {}
    with _progress() as progress:

        def timed(junction: Junction) -> JunctionProof:
            begun_s = time.monotonic()
            proof = prove(junction, lambda states: progress(f"{junction.id}: {states:,} states"))
            seconds[junction.id] = time.monotonic() - begun_s
            return proof

        return report_on(cabinet, timed), seconds


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on standard error that tells how far the search is; how many states there are is known at its end only."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("checking") as status:
        yield lambda text: status.update(f"checking {clean(text)}")


def _exit(report: Report) -> Exit:
    if not report.is_clean:
        return Exit.FAILED
    return Exit.DONE if report.is_seconded else Exit.UNSECONDED


def _ring(folder: Path) -> KeyRing | None:
    """The cabinet's key list, if it is at hand."""
    try:
        return load_key_list(read_bytes(folder / "keys.sealed"), read_roots(read_text(folder / "roots.toml")))
    except TextFileError:
        return None


def _tool() -> str:
    from importlib.metadata import version

    return f"armoire {version('armoire')}"
