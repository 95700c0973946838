"""Stages, watched red lamps and distances of a junction, as the site file says them."""

import pytest

from agent.model.equipment import Junction
from agent.model.identity import EquipmentId
from agent.model.site_file import read_cabinet
from tests.model.test_site_file import PLANS, changed, problems


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("stages = [[1], 2]", "stages[1]: expected an array of group numbers, found 2"),
        ("stages = [[1], []]", "stages[1]: expected an array of group numbers, found []"),
        ("stages = [[1, 4]]", "stages[0]: expected numbers of groups of this junction, found 4"),
        ("stages = [[2, 2]]", "stages[0]: group 2 is there twice"),
        ("stages = [[2, 3], [3, 2]]", "stages[1]: stage [2, 3] is there twice"),
        ("red_supervision = [true]", "red_supervision: expected numbers of groups of this junction, found true"),
        ("red_supervision = 1", "red_supervision: expected an array of group numbers, found 1"),
        ("all_red_s_min = -1", "all_red_s_min: expected seconds 0..10, found -1"),
        ("stage = [[1]]", "stage: unknown key; did you mean stages?"),
    ],
)
def test_what_is_wrong_with_stages_and_red_lamps_is_told(more: str, line: str) -> None:
    assert problems(changed(PLANS, f"{PLANS}{more}\n")) == (f"site.toml: junction[0].{line}",)


def test_stages_red_supervision_and_distances_are_read() -> None:
    text = changed(PLANS, f"{PLANS}stages = [[1], [3, 2]]\nred_supervision = [2]\nall_red_s_min = 1.5\n")
    text = text.replace("yellow_min_s = 0 }", "yellow_min_s = 0, clearing_m = 7.25 }")
    junction = read_cabinet(text, "site.toml").site.equipment[EquipmentId("darcy")]
    assert isinstance(junction, Junction)
    assert junction.stages == (frozenset({1}), frozenset({2, 3}))
    assert (junction.red_supervised, junction.all_red_ms_min) == (frozenset({2}), 1500)
    assert [group.clearing_mm for group in junction.groups] == [0, 0, 7250]
