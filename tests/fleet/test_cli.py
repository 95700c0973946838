"""What is typed at ``armoire-fleet serve`` is checked before anything is touched."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model.identity import is_id
from fleet.cli import USAGE, serve


@pytest.mark.parametrize("name", ["a/b#+", "+", "#", "", "a" * 41, "Control-Room", "-room", "room\n", "salle-é"])
def test_a_fleets_name_that_is_no_id_is_refused_before_anything_is_made(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(dir=tmp_path / "fleet", fleet=name) == USAGE
    assert "--fleet: expected 1..40 characters a-z, 0-9 and -, found " in capsys.readouterr().err
    assert not (tmp_path / "fleet").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=50).filter(lambda text: not is_id(text)))
def test_no_other_name_gets_further(name: str, tmp_path: Path) -> None:
    assert serve(dir=tmp_path / "fleet", fleet=name) == USAGE
    assert not (tmp_path / "fleet").exists()
