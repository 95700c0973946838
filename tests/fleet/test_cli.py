"""Every command explains itself; what is typed at ``armoire-fleet serve`` is checked before anything is touched."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model.identity import is_id
from fleet.cli import USAGE, app, serve


def leaves(group: App, *path: str) -> Iterator[tuple[str, App]]:
    for name in group:
        if not name.startswith("-"):
            yield from leaves(group[name], *path, name)
    if group.default_command is not None and path:
        yield " ".join(path), group


COMMANDS = dict(leaves(app))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_can_be_typed_and_either_can_be_tried_or_read_by_programs(name: str) -> None:
    example = str(COMMANDS[name].help_epilogue).removeprefix("Example: armoire-fleet ")
    words = shlex.split(example.partition(" >")[0])
    assert words[: len(name.split())] == name.split()
    called, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert called is COMMANDS[name].default_command
    assert name == "serve" or {"json", "dry_run"} & set(bound.signature.parameters)


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
