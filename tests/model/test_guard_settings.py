"""The guard's own settings in the site file."""

import pytest

from agent.model.site import Realtime
from agent.model.site_file import SiteFileError, read_cabinet
from tests.model.test_site_file import SMALLEST


def test_what_nobody_settled_is_claimed_if_permitted_in_the_folder_of_both() -> None:
    cabinet = read_cabinet(SMALLEST, "site.toml")
    assert (cabinet.realtime, cabinet.realtime_priority) == (Realtime.IF_PERMITTED, 10)
    assert cabinet.guards_folder == cabinet.state


def test_claim_priority_and_folder_are_the_sites_to_settle() -> None:
    asked = '[guard]\nrealtime = "required"\nrealtime_priority = 49\nstate = "/var/lib/armoire-guard"\n'
    cabinet = read_cabinet(SMALLEST + asked, "site.toml")
    assert (cabinet.realtime, cabinet.realtime_priority) == (Realtime.REQUIRED, 49)
    assert str(cabinet.guards_folder) == "/var/lib/armoire-guard"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('realtime = "yes"', 'realtime: expected off, if-permitted, required, found "yes"'),
        ("realtime = true", "realtime: expected off, if-permitted, required, found true"),
        ("realtime_priority = 50", "realtime_priority: expected priority 1..49, found 50"),
        ("realtime_priority = 0", "realtime_priority: expected priority 1..49, found 0"),
        ('state = ""', 'state: expected text of 1..200 printable characters, found ""'),
    ],
)
def test_what_is_wrong_is_named(line: str, problem: str) -> None:
    with pytest.raises(SiteFileError) as refused:
        read_cabinet(f"{SMALLEST}[guard]\n{line}\n", "site.toml")
    assert refused.value.problems == (f"site.toml: guard.{problem}",)


PRESENCE = """
[guard.presence]
address = "127.0.0.1:5020"
unit = 1
profile = "cabinet-ref"
door_open = "door_open"
local_key = "key_local"
"""


def test_a_tag_out_switch_is_one_more_point() -> None:
    presence = read_cabinet(f'{SMALLEST}{PRESENCE}tag_out = "tag_out"\n', "site.toml").presence
    assert presence is not None
    assert presence.points == ("door_open", "key_local", "tag_out")
    without = read_cabinet(SMALLEST + PRESENCE, "site.toml").presence
    assert without is not None
    assert without.points == ("door_open", "key_local")


def test_one_point_cannot_be_two() -> None:
    with pytest.raises(SiteFileError, match='tag_out: the same point as another, "key_local"'):
        read_cabinet(f'{SMALLEST}{PRESENCE}tag_out = "key_local"\n', "site.toml")
