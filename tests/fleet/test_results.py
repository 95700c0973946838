"""Outcomes: whose word ends which command, and how often."""

from collections.abc import Callable

import pytest

from agent.wire.messages import ENDED, SCHEMA, CommandMessage, Event
from fleet import changes, command_rows, schema
from fleet.answers import CommandAnswer
from tests.fleet.intake import Bench
from tests.fleet.standin import StandIn, unix_ms


def sent(
    command_id: str, gateway: str = "gw-darcy", equipment: str = "segment-1", status: str = "sent"
) -> CommandAnswer:
    return CommandAnswer(
        command_id, status, "", "", "", gateway, equipment, "set-level", {"level_percent": 60}, "alice", [],
        unix_ms(), unix_ms() + 20_000, 0,
    )  # fmt: skip


def asked(command_id: str, equipment: str = "segment-1") -> CommandMessage:
    return CommandMessage(
        SCHEMA, command_id, "alice/1", "gw-darcy", equipment, "set-level", {}, bytes(16), 1, 0, 0, None, None
    )


def test_a_result_ends_its_command_once(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    bench.store.transact(lambda connection: command_rows.add(connection, sent("c1"), b"sealed"))
    result = voice.outcome(asked("c1"), "refused", "LR-01", "below the floor")
    told = bench.take(voice.birth(), result, result)
    [concluded] = [each.command for each in told if isinstance(each, changes.Concluded)]
    assert (concluded.status, concluded.rule, concluded.reason) == ("refused", "LR-01", "below the floor")
    assert bench.count(schema.results) == 1


def test_a_result_of_another_gateway_ends_nothing_of_ours(bench: Bench, standin: Callable[..., StandIn]) -> None:
    bench.store.transact(lambda connection: command_rows.add(connection, sent("c1", gateway="gw-monge"), b""))
    bench.take(standin().outcome(asked("c1")))
    assert bench.store.read(lambda connection: command_rows.one(connection, "c1")).status == "sent"  # type: ignore[union-attr]
    assert bench.kinds() == ["command.elsewhere"]


def test_a_late_result_replaces_unknown_and_is_told(bench: Bench, standin: Callable[..., StandIn]) -> None:
    bench.store.transact(lambda connection: command_rows.add(connection, sent("c1", status="unknown"), b""))
    bench.take(standin().outcome(asked("c1")))
    assert bench.store.read(lambda connection: command_rows.one(connection, "c1")).status == "done"  # type: ignore[union-attr]
    assert bench.kinds() == ["command.late-result"]


@pytest.mark.parametrize("ended", ENDED)
@pytest.mark.parametrize("equipment", ["junction-1", "segment-1"])
def test_only_the_executor_of_the_equipment_ends_a_command(
    bench: Bench, standin: Callable[..., StandIn], equipment: str, ended: str
) -> None:
    voice = standin()
    executor, other = (voice.guard, voice.agent) if equipment == "junction-1" else (voice.agent, voice.guard)
    bench.store.transact(lambda connection: command_rows.add(connection, sent("c1", equipment=equipment), b""))
    contradicting = voice.outcome(asked("c1", equipment), ended, signer=other)
    told = bench.take(voice.birth(), contradicting, contradicting)
    assert not [each for each in told if isinstance(each, changes.Concluded)]
    assert bench.kinds() == ["command.contradicting-result"]
    told = bench.take(voice.outcome(asked("c1", equipment), ended, signer=executor))
    assert [each.command.status for each in told if isinstance(each, changes.Concluded)] == [ended]


def record(voice: StandIn, stream: str, equipment: str, command_id: str = "c1") -> tuple[str, bytes]:
    """How a process seals the end of a command in its own stream."""
    detail = {"command": command_id, "verb": "flash", "issuer": "alice/1", "state": "in flash"}
    event = Event(0, "command.done", equipment, "", "flash: yellow flash observed", detail)  # type: ignore[arg-type]
    return voice.link(stream, events=[event])


@pytest.mark.parametrize("status", ["sent", "unknown"])
@pytest.mark.parametrize(("equipment", "stream"), [("junction-1", "safety"), ("segment-1", "audit")])
def test_a_sealed_record_ends_a_command_whose_result_was_lost(
    bench: Bench, standin: Callable[..., StandIn], equipment: str, stream: str, status: str
) -> None:
    voice = standin()
    given = sent("c1", equipment=equipment, status=status)
    bench.store.transact(lambda connection: command_rows.add(connection, given, b""))
    told = bench.take(voice.birth(), record(voice, stream, equipment))
    [ended] = [each.command for each in told if isinstance(each, changes.Concluded)]
    assert (ended.status, ended.reason, ended.state) == ("done", "yellow flash observed", "in flash")
    late = ["command.late-result"] if status == "unknown" else []
    assert bench.kinds() == ["command.done", *late]
    result = voice.outcome(asked("c1", equipment), signer=voice.guard if stream == "safety" else voice.agent)
    assert not [each for each in bench.take(result) if isinstance(each, changes.Concluded)]


@pytest.mark.parametrize(
    ("equipment", "stream"), [("junction-1", "audit"), ("segment-1", "safety"), ("junction-1", "alarm")]
)
def test_a_record_in_anothers_stream_ends_nothing(
    bench: Bench, standin: Callable[..., StandIn], equipment: str, stream: str
) -> None:
    voice = standin()
    bench.store.transact(lambda connection: command_rows.add(connection, sent("c1", equipment=equipment), b""))
    told = bench.take(voice.birth(), record(voice, stream, equipment), record(voice, "audit", "segment-1", "other"))
    assert not [each for each in told if isinstance(each, changes.Concluded)]


def test_an_ending_that_does_not_exist_is_no_result(bench: Bench, standin: Callable[..., StandIn]) -> None:
    bench.take(standin().outcome(asked("c1"), "would-do"))
    assert bench.rejections() == {("gw-darcy", "message"): 1}
