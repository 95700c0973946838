"""What a technician commands: signed, counted, judged elsewhere, and told how it ended."""

from pathlib import Path

import pytest

from agent.cli.writing import EXITS, read_arguments
from agent.safety.verdict import Refused
from agent.wire.local import Rehearse, Reply, Request, Submit
from agent.wire.messages import ENDED, Value
from tests.cli.canned import Executor, mute, serving
from tests.cli.conftest import Type
from tests.cli.wording import ended as said_at_the_end

KID = "gw-darcy/tech/1"
MINUTE_S = 60

STAYS = "loop A is occupied. Nothing was sent to the equipment; down at 0 %, loop A occupied."
COMMANDS: list[tuple[str, str, str, dict[str, Value]]] = [
    ("lamp set seg-darcy-1 60 --for 30m", "agent", "set-level", {"level_percent": 60, "lease_s": 30 * MINUTE_S}),
    ("lamp set seg-darcy-1 60", "agent", "set-level", {"level_percent": 60, "lease_s": 30 * MINUTE_S}),
    ("lamp release seg-darcy-1", "agent", "release-level", {}),
    ("bollard lower bollard-rameau", "guard", "lower", {}),
    ("junction plan j-republique 2 --for 1h30m", "guard", "select-plan", {"plan": 2, "lease_s": 90 * MINUTE_S}),
    ("junction flash j-republique", "guard", "flash", {"lease_s": 10 * MINUTE_S}),
    ("junction flash j-republique --for 90s", "guard", "flash", {"lease_s": 90}),
    ("junction release j-republique", "guard", "release", {}),
    ("reset j-wilson", "guard", "reset", {}),
    ("submit j-republique select-plan plan=3 lease_s=60", "guard", "select-plan", {"plan": 3, "lease_s": 60}),
]


@pytest.mark.parametrize(("line", "process", "verb", "args"), COMMANDS, ids=[line for line, *_ in COMMANDS])
def test_a_command_reaches_its_executor_signed_and_counted(
    type_: Type, agent_up: Executor, guard_up: Executor, line: str, process: str, verb: str, args: dict[str, Value]
) -> None:
    executor = guard_up if process == "guard" else agent_up
    executor.counters[KID] = 41
    said = type_(line)
    assert (said.exit, said.err) == (0, "")
    assert said.out.startswith(f"done: {said_at_the_end(verb, args)}. ")
    [message] = executor.admitted
    assert (message.verb, message.args, message.counter) == (verb, args, 42)
    assert message.not_after_ms - message.issued_ms <= 30_000
    assert executor.counters == {KID: 42}


def test_what_is_expected_goes_along_signed(type_: Type, agent_up: Executor) -> None:
    type_("lamp set seg-darcy-1 60 --expect level_percent=80")
    type_("lamp release seg-darcy-1 --expect cab-darcy/door_open=false")
    expected = [(each.expect_point, each.expect_value) for each in agent_up.admitted]
    assert expected == [("seg-darcy-1/level_percent", 80), ("cab-darcy/door_open", False)]
    for wrong in ("level_percent", "=3", "level_percent=null", "x" * 79 + "=1"):
        said = type_("lamp set seg-darcy-1 60 --expect", wrong)
        assert (said.exit, len(agent_up.admitted)) == (2, 2)
        assert "Write --expect point=value" in said.err


@pytest.mark.parametrize("line", [line for line, *_ in COMMANDS])
def test_a_dry_run_does_nothing_and_needs_no_key(
    type_: Type, state: Path, agent_up: Executor, guard_up: Executor, line: str
) -> None:
    (state / "keys" / "technician.pem").unlink()
    said = type_(line, "--dry-run")
    assert said.exit == 0
    assert said.out.startswith("would do: ")
    assert said.out.endswith("Dry run: nothing was done.\n")
    assert agent_up.admitted == guard_up.admitted == []


def test_a_refusal_names_its_rule(type_: Type, agent_up: Executor, guard_up: Executor) -> None:
    said = type_("bollard raise bollard-rameau")
    assert said.exit == 3
    assert said.out == f"refused by SR-19: {STAYS}\n"
    assert said.err == ""
    rehearsed = type_("bollard raise bollard-rameau --dry-run")
    assert rehearsed.exit == 3
    assert rehearsed.out == f"would be refused by SR-19: {STAYS}\n"
    document = type_("bollard raise bollard-rameau --json").document
    assert (document["ended"], document["rule"], document["exit"]) == ("refused", "SR-19", 3)
    assert document["dry_run"] is False


def test_sr_01_a_verb_that_sets_green_is_sent_and_refused(type_: Type, agent_up: Executor, guard_up: Executor) -> None:
    said = type_("submit j-republique set_green group=2")
    assert said.exit == 3
    assert "refused by SR-01: no such verb 'set_green'" in said.out
    assert guard_up.admitted[0].args == {"group": 2}
    assert "refused by SR-08" in type_("lamp set seg-darcy-1 140").out


def test_a_command_to_what_takes_none_is_refused_by_the_cabinet(
    type_: Type, agent_up: Executor, guard_up: Executor
) -> None:
    agent_up.refusals["lower"] = Refused("SR-01", "a lamp does not lower")
    assert type_("submit lamp-darcy-101 lower").exit == 3


@pytest.mark.parametrize("line", ["lamp set lamp-darcy-101 40", "lamp release lamp-darcy-101"])
def test_a_lamp_is_driven_by_its_segment(type_: Type, agent_up: Executor, line: str) -> None:
    said = type_(line)
    assert said.exit == 2
    assert "driven by segment seg-darcy-1" in said.err
    assert "armoire lamp set seg-darcy-1 LEVEL" in said.err
    assert agent_up.admitted == []


def test_each_ending_has_its_exit_code(type_: Type, agent_up: Executor, guard_up: Executor) -> None:
    assert set(EXITS) == {*ENDED, "would-do"}
    expected = {"done": 0, "expired": 5, "failed": 4, "unknown": 4, "something new": 4}
    for ended, code in expected.items():
        guard_up.ends = ended
        said = type_("bollard lower bollard-rameau")
        assert said.exit == code
        shown, quiet = (said.out, said.err) if code == 0 else (said.err, said.out)
        assert ended in shown
        assert quiet == ""
        assert type_("bollard lower bollard-rameau --json").document["ended"] == ended


def test_a_command_goes_straight_to_the_guard_when_the_agent_is_down(type_: Type, guard_up: Executor) -> None:
    said = type_("bollard lower bollard-rameau")
    assert said.exit == 0
    assert "agent is down" in said.err
    assert len(guard_up.admitted) == 1


def test_a_command_never_goes_twice_when_its_outcome_is_lost(
    type_: Type, state: Path, agent: Executor, guard_up: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.cli.order.SUBMIT_TIMEOUT_S", 0.3)

    def swallow(request: Request) -> Reply | bytes:
        reply = agent.answer(request)
        return b"" if isinstance(request, Submit) else reply

    with serving(state / "agent.sock", swallow):
        said = type_("bollard lower bollard-rameau")
    assert said.exit == 4
    assert "may have been carried out" in said.err
    assert "armoire show bollard-rameau" in said.err
    assert len(guard_up.admitted) == 1


def test_an_executor_that_is_down_is_exit_6_and_nothing_is_sent(type_: Type, agent_up: Executor) -> None:
    said = type_("bollard lower bollard-rameau")
    assert said.exit == 6
    assert "the guard has no socket" in said.err


def test_a_counter_that_raced_is_taken_anew_once(type_: Type, agent_up: Executor, guard_up: Executor) -> None:
    overtakes = [5, 9]
    sent = []

    def overtake() -> None:
        sent.append(1)
        if overtakes:
            guard_up.counters[KID] = overtakes.pop(0)

    guard_up.before_submit = overtake
    del overtakes[1:]
    assert type_("bollard lower bollard-rameau").exit == 0
    assert (len(sent), guard_up.admitted[0].counter) == (2, 6)

    overtakes += [50, 60]
    sent.clear()
    said = type_("bollard lower bollard-rameau")
    assert said.exit == 3
    assert "refused by SR-25: counter 51 is not above 60" in said.out
    assert len(sent) == 2


def test_a_refusal_for_another_reason_is_not_sent_again(type_: Type, agent_up: Executor, guard_up: Executor) -> None:
    guard_up.refusals["flash"] = Refused("SR-25", "counter-signature missing")
    assert type_("junction flash j-republique").exit == 3
    assert len(guard_up.admitted) == 1


def test_an_unusable_key_is_a_sentence(type_: Type, state: Path, agent_up: Executor, guard_up: Executor) -> None:
    key = state / "keys" / "technician.pem"
    key.chmod(0o644)
    assert "chmod 600" in type_("bollard lower bollard-rameau").err
    key.chmod(0o600)
    key.write_text("not a key")
    assert "not a private key file" in type_("bollard lower bollard-rameau").err
    key.unlink()
    said = type_("bollard lower bollard-rameau")
    assert said.exit == 2
    assert "cannot be read" in said.err
    assert guard_up.admitted == []


def test_another_parties_key_is_not_believed(
    type_: Type, trust: Path, agent_up: Executor, guard_up: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMOIRE_KEY", str(trust / "gateways" / "gw-darcy" / "agent.pem"))
    said = type_("bollard lower bollard-rameau")
    assert said.exit == 4
    assert "not believed" in said.err.lower()
    assert guard_up.admitted == []
    option = type_("bollard lower bollard-rameau", "--key", str(trust / "gateways" / "gw-darcy" / "technician.pem"))
    assert option.exit == 0


def test_the_rehearsal_says_who_would_ask(type_: Type, state: Path, agent: Executor, guard_up: Executor) -> None:
    asked: list[Request] = []

    def listen(request: Request) -> Reply | bytes:
        asked.append(request)
        return agent.answer(request)

    with serving(state / "agent.sock", listen):
        type_("lamp set seg-darcy-1 20 --dry-run")
    [rehearsal] = [request for request in asked if isinstance(request, Rehearse)]
    assert rehearsal.role == "technician"


@pytest.mark.parametrize(
    "line",
    [
        "lamp set seg-darcy-1",
        "lamp set seg-darcy-1 half",
        "lamp set seg-darcy-1 40 --for 30",
        "lamp set seg-darcy-1 40 --for 0m",
        "lamp set seg-darcy-1 40 --for 9999h",
        "lamp set seg-darcy-1 99999999999999999999999",
        "junction plan j-republique one",
        "submit j-republique",
        "submit j-republique flash lease_s",
        "submit j-republique flash =5",
        "submit j-republique flash a=1 a=2",
        "submit j-republique flash a=99999999999999999999999",
        f"submit j-republique {'v' * 41}",
        f"submit j-republique flash {'k' * 41}=1",
        f"submit j-republique flash a={'x' * 501}",
        "submit j-republique flash " + " ".join(f"a{n}={'x' * 400}" for n in range(60)),
        "submit j-republique v\udcff",
        "submit j-republique flash a=\udcff",
        "show",
        "bogus",
        "lamp bogus",
        "status --bogus",
        "--json",
        "check",
    ],
)
def test_what_cannot_be_asked_is_exit_2_and_nothing_is_sent(
    type_: Type, agent_up: Executor, guard_up: Executor, line: str
) -> None:
    said = type_(line)
    assert said.exit == 2
    assert said.out == "" or "--json" in line
    assert said.err.startswith("armoire: ")
    assert agent_up.admitted == guard_up.admitted == []


def test_arguments_are_read_as_a_person_means_them() -> None:
    words = ("a=1", "b=-2.5", "c=true", "d=null", "e=plain words", "f=", "g=[1]", 'h="7"', "i=x=y", "j=1e400")
    assert read_arguments(words) == {
        "a": 1, "b": -2.5, "c": True, "d": None, "e": "plain words", "f": "", "g": "[1]", "h": '"7"', "i": "x=y",
        "j": float("inf"),
    }  # fmt: skip


def test_a_hanging_executor_is_given_up_in_time(type_: Type, state: Path, agent_up: Executor) -> None:
    with mute(state / "guard.sock"):
        said = type_("bollard lower bollard-rameau")
    assert said.exit == 6
    assert "did not answer within 2 s" in said.err
