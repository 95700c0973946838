"""Bollards and lighting segments in the site file: each key, its bounds, and what it is when it is left out."""

import pytest

from agent.model.equipment import Bollard, Photocell, Segment
from agent.model.site_file import read_cabinet
from tests.model.test_site_file import changed, problems

FREE, LEASE = "loops_free_s_min = 2.5", "lease_h_max = 0.5"
WRONG = [
    (
        "loops_free_s_min = 2.5",
        "loops_free_s_min = 1.9",
        "bollard[0].loops_free_s_min: expected seconds 2..60, found 1.9",
    ),
    ("lease_h_max = 0.5", "lease_h_max = 12.1", "segment[0].lease_h_max: expected hours 0.01..12, found 12.1"),
    (FREE, f"{FREE}\nprewarn_s_min = 0.9", "bollard[0].prewarn_s_min: expected seconds 1..60, found 0.9"),
    (FREE, f"{FREE}\nreverse_s_max = 2.1", "bollard[0].reverse_s_max: expected seconds 0.1..2, found 2.1"),
    (FREE, f"{FREE}\ntravel_s_max = 15.1", "bollard[0].travel_s_max: expected seconds 1..15, found 15.1"),
    (FREE, f"{FREE}\nrises_alone = 1", "bollard[0].rises_alone: expected true or false, found 1"),
    (LEASE, f"{LEASE}\nphotocell = true", "segment[0].photocell: expected a table, found true"),
    (
        LEASE,
        f"{LEASE}\nphotocell = {{ dwell_s = 59 }}",
        "segment[0].photocell.dwell_s: expected seconds 60..120, found 59",
    ),
    (
        LEASE,
        f"{LEASE}\nphotocell = {{ dark_below_lux = 70 }}",
        "segment[0].photocell.light_above_lux: 70 lx is not above dark_below_lux, 70 lx: the lamps would flicker",
    ),
    (
        LEASE,
        f"{LEASE}\nphotocell = {{ dark_lux = 20 }}",
        "segment[0].photocell.dark_lux: unknown key; did you mean dark_below_lux?",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_what_is_wrong_is_told_with_file_key_and_expectation(old: str, new: str, said: str) -> None:
    assert problems(changed(old, new)) == (f"site.toml: {said}",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FREE, f"{FREE}\nprewarn_s_min = 1\nreverse_s_max = 0.1\ntravel_s_max = 15\nrises_alone = true"),
        (LEASE, f"{LEASE}\nphotocell = {{ dark_below_lux = 1, light_above_lux = 1000, dwell_s = 120 }}"),
        ("lease_h_max = 0.5", "lease_h_max = 12"),
        ("loops_free_s_min = 2.5", "loops_free_s_min = 2"),
    ],
)
def test_each_limit_itself_is_allowed(old: str, new: str) -> None:
    read_cabinet(changed(old, new), "site.toml")


def test_what_a_bollard_and_a_photocell_leave_out_has_its_safe_value() -> None:
    cabinet = read_cabinet(changed(LEASE, f"{LEASE}\nphotocell = {{}}"), "site.toml")
    bollard = next(each for each in cabinet.site.equipment.values() if isinstance(each, Bollard))
    assert (bollard.prewarn_ms_min, bollard.reverse_ms_max, bollard.travel_ms_max) == (1_000, 500, 15_000)
    assert not bollard.rises_alone
    segment = next(each for each in cabinet.site.equipment.values() if isinstance(each, Segment))
    assert segment.photocell == Photocell(dark_below_lux=35, light_above_lux=70, dwell_ms=60_000)
