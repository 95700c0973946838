"""Outcomes: whose word ends which command, and how often."""

from collections.abc import Callable

from agent.wire.messages import SCHEMA, CommandMessage
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


def test_the_agent_cannot_report_done_for_the_guard(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    bench.store.transact(lambda connection: command_rows.add(connection, sent("c1", equipment="junction-1"), b""))
    bench.take(voice.birth(), voice.outcome(asked("c1", "junction-1"), signer=voice.agent))
    assert bench.rejections() == {("gw-darcy", "capability"): 1}
    told = bench.take(voice.outcome(asked("c1", "junction-1"), signer=voice.guard))
    assert [each.command.status for each in told if isinstance(each, changes.Concluded)] == ["done"]


def test_an_ending_that_does_not_exist_is_no_result(bench: Bench, standin: Callable[..., StandIn]) -> None:
    bench.take(standin().outcome(asked("c1"), "would-do"))
    assert bench.rejections() == {("gw-darcy", "message"): 1}
