"""A small junction that is in order: two streets, a crossing, a bus lane beside the first street."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from agent.commission.proof import JunctionProof, Report, prove, report_on
from agent.model.equipment import Junction, SignalGroup
from agent.model.site import Cabinet
from agent.model.site_file import SiteFileError, read_cabinet

TEXT = (Path(__file__).parent / "site.toml").read_text()
SAMPLES = 2_000


def cabinet_of(text: str = TEXT) -> Cabinet:
    return read_cabinet(text, "site.toml")


def junction_of(text: str = TEXT) -> Junction:
    return next(each for each in cabinet_of(text).site.equipment.values() if isinstance(each, Junction))


MONGE = junction_of()


def quickly(junction: Junction) -> JunctionProof:
    """The proof, with the observer shown less."""
    return prove(junction, samples=SAMPLES)


def said_of(text: str) -> list[str]:
    """What the check says of a site file: the parser's problems, else the findings and what broke."""
    try:
        report = report_on(cabinet_of(text), quickly)
    except SiteFileError as error:
        return list(error.problems)
    return [*map(str, report.findings), *(proof.breach.text for proof in report.proofs if proof.breach)]


def checked(junction: Junction) -> Report:
    """The report on a cabinet with this junction in the place of the one it has."""
    cabinet = cabinet_of()
    equipment = {**cabinet.site.equipment, junction.id: junction}
    return report_on(replace(cabinet, site=replace(cabinet.site, equipment=equipment)), quickly)


def with_group(junction: Junction, number: int, **facts: object) -> Junction:
    def changed(group: SignalGroup) -> SignalGroup:
        return replace(group, **facts) if group.number == number else group  # type: ignore[arg-type]

    return replace(junction, groups=tuple(map(changed, junction.groups)))


def with_intergreen(junction: Junction, ending: int, starting: int, intergreen_ms: int | None) -> Junction:
    least: Mapping[tuple[int, int], int] = {
        pair: ms for pair, ms in junction.intergreen_ms.items() if pair != (ending, starting)
    }
    more = {} if intergreen_ms is None else {(ending, starting): intergreen_ms}
    return replace(junction, intergreen_ms={**least, **more})  # type: ignore[arg-type]
