"""LR-05, LR-07: whose level holds at a segment, and how segments return one after the other."""

from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import LOCAL_PLAN, Origin, SetLevel
from agent.model.identity import EquipmentId, GatewayId
from agent.runtime.arbitration import RETURN_WINDOW_MS, Rank, arbitrate, is_outranked, return_offset_ms
from agent.safety.verdict import Refused
from tests.safety.facts import ALICE, LAMP, LEVEL, SEGMENT, SITE, TECHNICIAN


@given(
    ids=st.lists(st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), min_size=1, max_size=16, unique=True),
    gateway=st.text(),
)
def test_lr_05_the_segments_of_a_cabinet_return_evenly_within_the_window(ids: list[str], gateway: str) -> None:
    segments = {EquipmentId(each): replace(SEGMENT, id=EquipmentId(each)) for each in ids}
    site = replace(SITE, gateway=GatewayId(gateway), equipment={**SITE.equipment, SEGMENT.id: LAMP} | segments)
    offsets = sorted(return_offset_ms(each, site) for each in segments)
    assert offsets[0] >= 0
    assert offsets[-1] < RETURN_WINDOW_MS
    share_ms = RETURN_WINDOW_MS // len(ids)
    assert offsets == [offsets[0] + n * share_ms for n in range(len(ids))]


def test_lr_05_the_formula_to_the_millisecond() -> None:
    site = replace(SITE, equipment={EquipmentId(each): replace(SEGMENT, id=EquipmentId(each)) for each in "cab"})
    # crc32(b"gw-darcy") % 10_000, and the place in the order of ids.
    assert [return_offset_ms(EquipmentId(each), site) for each in "abc"] == [3167, 13167, 23167]


ORDER = [Rank.LOCAL_SWITCH, Rank.TECHNICIAN, Rank.OPERATOR, Rank.DYNAMIC, Rank.PROGRAM, Rank.DEFAULT]


def test_lr_07_who_decides_in_every_case_there_is() -> None:
    cases = 0
    for many in range(1, len(ORDER) + 1):
        for present in combinations(ORDER, many):
            for first_level in (0, 30, 100):
                for least in (None, 0, 29, 30, 31, 100):
                    wishes = dict.fromkeys(present, 50) | {present[0]: first_level}
                    if least is not None:
                        wishes[Rank.SAFETY] = least
                    is_raised = present[0] is not Rank.LOCAL_SWITCH and least is not None and least > first_level
                    assert arbitrate(wishes) is (Rank.SAFETY if is_raised else present[0])
                    cases += 1
    assert cases == 63 * 3 * 6
    assert sorted(Rank) == [ORDER[0], Rank.SAFETY, *ORDER[1:]]


def test_lr_07_an_operator_does_not_replace_a_technicians_override() -> None:
    def held(new: Origin, old: Origin) -> Refused | None:
        return is_outranked(replace(LEVEL, origin=new), SetLevel(SEGMENT.id, old, 60, 60_000))

    assert held(ALICE, TECHNICIAN) == Refused("LR-07", "a technician holds it at 60 %; release it first")
    assert held(LOCAL_PLAN, ALICE) == Refused("LR-07", "an operator holds it at 60 %; release it first")
    for new, old in ((ALICE, ALICE), (TECHNICIAN, ALICE), (TECHNICIAN, TECHNICIAN), (ALICE, LOCAL_PLAN)):
        assert held(new, old) is None
