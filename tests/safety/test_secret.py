"""Secrets that are none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import Command
from agent.safety.kernel import judge, may_refresh
from agent.safety.lease import granted
from agent.safety.secret import DEFAULT_SECRETS, defaults_among
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import FLASH, NOW_MS, PLAN, RELEASE, SEEN_JUNCTION, SITE, standing_for


def test_sr_17_names_the_secrets_everybody_knows() -> None:
    assert defaults_among({"read community": "dijon-read", "write community": "dijon-write"}) == ""
    assert defaults_among({"read community": "public", "write community": "dijon-write"}) == "read community"
    both = {"read community": " PUBLIC ", "write community": "Private"}
    assert defaults_among(both) == "read community and write community"


def test_sr_17_knows_these_and_no_others() -> None:
    words = """
        public private community administrator admin snmp netman default password secret
        read write readonly readwrite rw ro test guest root ntcip manager cisco
        0000 1111 1234 12345 123456 2222 9999
    """
    assert frozenset(words.split()) == DEFAULT_SECRETS


@given(st.sampled_from(sorted(DEFAULT_SECRETS)), st.text(" ", max_size=3))
def test_sr_17_case_and_spaces_hide_nothing(word: str, space: str) -> None:
    assert defaults_among({"code": space + word.upper() + space}) == "code"


@given(st.text("acdefghijklmnopqrstuvwxyz0123456789-", min_size=14))
def test_sr_17_an_own_secret_passes(word: str) -> None:
    assert defaults_among({"code": word}) == ""


@pytest.mark.parametrize("command", [PLAN, FLASH])
def test_sr_17_with_a_default_secret_nothing_is_controlled_but_everything_released(command: Command) -> None:
    standing = replace(standing_for(command), default_secret="write community")
    reason = "its write community is a default everybody knows; set an own one in controller and site file"
    assert judge(command, SITE, SEEN_JUNCTION, standing, NOW_MS) == Refused("SR-17", reason)
    assert isinstance(judge(RELEASE, SITE, SEEN_JUNCTION, standing, NOW_MS), Approved)
    approved = judge(command, SITE, SEEN_JUNCTION, standing_for(command), NOW_MS)
    assert isinstance(approved, Approved)
    assert may_refresh(granted(approved), SITE, SEEN_JUNCTION, standing, NOW_MS) == Refused("SR-17", reason)
