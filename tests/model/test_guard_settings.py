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
