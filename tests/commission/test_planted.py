"""Planted configuration errors: each is found, and named with its culprit."""

from dataclasses import replace

import pytest

from agent.commission.plausibility import notes_of
from tests.commission.monge import MONGE, TEXT, cabinet_of, said_of

J = "junction j-monge"
PLANTED = {
    "an intergreen in one direction only": (
        '"2-4" = 5, ',
        "",
        (
            "site.toml: junction[0].intergreen_s.2-4: missing, expected an intergreen for both directions of every "
            "conflict, or a default"
        ),
    ),
    "an intergreen of a pair that does not conflict": (
        '"1-2" = 5,',
        '"1-2" = 5, "1-4" = 5,',
        "site.toml: junction[0].intergreen_s.1-4: groups 1 and 4 are not in conflicts",
    ),
    "a conflict less, its intergreens left": (
        "[3, 4]]",
        "]",
        "site.toml: junction[0].intergreen_s.3-4: groups 3 and 4 are not in conflicts",
    ),
    "an intergreen below yellow and all red": (
        '"1-2" = 5',
        '"1-2" = 4.9',
        (
            f'{J}: intergreen_s.1-2: 4.9 s after group 1 "Rue Monge", expected at least 5 s: yellow 3 s and all red 2 s '
            "(SR-06)"
        ),
    ),
    "an intergreen below the yellow": (
        '"1-2" = 5',
        '"1-2" = 2',
        "site.toml: junction[0].intergreen_s.1-2: 2 s is below the yellow of group 1, 3 s",
    ),
    "a crossing that is too long": (
        "clearing_m = 8",
        "clearing_m = 8.5",
        (
            f'{J}: intergreen_s.3-1: 8 s after group 3 "Crossing", expected at least 8.5 s: yellow 0 s, then 8.5 m at '
            "1 m/s (SR-06)"
        ),
    ),
    "a junction that is too wide": (
        "clearing_m = 20",
        "clearing_m = 35",
        (
            f'{J}: intergreen_s.2-1: 5 s after group 2 "Rue Crébillon", expected at least 6.5 s: yellow 3 s, then 35 m at '
            "10 m/s (SR-06)"
        ),
    ),
    "a yellow below its floor": (
        'kind = "bus", green_min_s = 6, yellow_min_s = 3',
        'kind = "bus", green_min_s = 6, yellow_min_s = 2',
        "site.toml: junction[0].groups[3].yellow_min_s: expected seconds 3..10, found 2",
    ),
    "a green below its floor": (
        'name = "Crossing", kind = "pedestrian", green_min_s = 6',
        'name = "Crossing", kind = "pedestrian", green_min_s = 5',
        f'{J}: groups[3].green_min_s: group 3 "Crossing" has a least green of 5 s, expected at least 6 s (SR-05)',
    ),
    "a stage with conflicting groups": (
        "[[1, 4], [2], [3]]",
        "[[1, 4], [2, 3]]",
        (
            f'{J}: stages[1]: group 2 "Rue Crébillon" and group 3 "Crossing" conflict, and are green together in this '
            "stage"
        ),
    ),
    "a group in no stage": (
        "[[1, 4], [2], [3]]",
        "[[1], [2], [3]]",
        f'{J}: stages: group 4 "Bus lane" is in no stage: it would never be green',
    ),
    "a stage with an unknown group": (
        "[[1, 4], [2], [3]]",
        "[[1, 4], [2, 9], [3]]",
        "site.toml: junction[0].stages[1]: expected numbers of groups of this junction, found 9",
    ),
    "a group without a watched red": (
        "red_supervision = [1, 2, 3, 4]",
        "red_supervision = [1, 2, 3]",
        (
            f'{J}: red_supervision: group 4 "Bus lane" has no watched red lamp: a dark red would go unseen; expected its '
            "number here"
        ),
    ),
    "a watchdog that is too slow": (
        "backup_time_s = 60",
        "backup_time_s = 121",
        "site.toml: junction[0].backup_time_s: expected seconds 10..120, found 121",
    ),
    "a plan that is none": (
        "plans = [1, 2]",
        "plans = [1, 254]",
        "site.toml: junction[0].plans[1]: expected a plan number 1..253, found 254",
    ),
    "a default read community": (
        '"monge-read"',
        '"public"',
        (
            f'{J}: snmp.read_community: "public" is a default that everybody knows; expected a community of its own '
            "(SR-17)"
        ),
    ),
    "a default write community": (
        '"monge-write"',
        '"Administrator"',
        (
            f'{J}: snmp.write_community: "Administrator" is a default that everybody knows; expected a community of its '
            "own (SR-17)"
        ),
    ),
    "a junction without any conflict": (
        "[[1, 2], [1, 3], [2, 3], [2, 4], [3, 4]]",
        "[]",
        "site.toml: junction[0].conflicts: expected at least one pair: no two of these groups would conflict",
    ),
    "loops that need not be free": (
        "loops_free_s_min = 2",
        "loops_free_s_min = 1.5",
        "site.toml: bollard[0].loops_free_s_min: expected seconds 2..60, found 1.5",
    ),
    "a street that may be dark": (
        "level_floor_percent = 30",
        "level_floor_percent = 0",
        "site.toml: segment[0].level_floor_percent: expected percent 1..100, found 0",
    ),
    "a night below its floor": (
        "night_level_percent = 80",
        "night_level_percent = 20",
        "site.toml: segment[0].night_level_percent: 20 % is below level_floor_percent, 30 %",
    ),
    "a time between two tenths": (
        '"1-2" = 5',
        '"1-2" = 5.05',
        f"{J}: intergreen_s.1-2: 5.05 s is no whole tenth of a second",
    ),
    "a stage that cannot come": (
        "[[1, 4], [2], [3]]",
        "[[1, 4], [2, 3]]",
        "stage [2, 3] is never shown when it is asked for, at most 120 s are due",
    ),
}


def test_the_site_itself_is_in_order() -> None:
    assert said_of(TEXT) == []


def test_a_configuration_that_nobody_commissioned_is_noted() -> None:
    note = (
        f"{J}: configuration_id: not written: a changed configuration is noticed only while the guard runs, "
        "not over its restart (SR-16)"
    )
    cabinet = cabinet_of()
    assert note in map(str, notes_of(cabinet))
    site = replace(cabinet.site, equipment={MONGE.id: replace(MONGE, configuration_id=0)})
    assert note not in map(str, notes_of(replace(cabinet, site=site)))


@pytest.mark.parametrize(("old", "new", "line"), PLANTED.values(), ids=PLANTED)
def test_a_planted_error_is_found_and_named(old: str, new: str, line: str) -> None:
    text = TEXT.replace(old, new)
    assert text != TEXT
    assert line in said_of(text)


def test_one_controller_is_not_two_junctions() -> None:
    head, rest = TEXT.split("[[bollard]]")
    twin = head[head.index("[[junction]]") :].replace('"j-monge"', '"j-twin"')
    assert said_of(f"{head}{twin}[[bollard]]{rest}") == ["site.toml: junction[1].snmp: drives what j-monge drives"]
