"""``armoire-fleet audit``: proofs that need nobody's word, and a database that cannot be changed unnoticed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine, text

from agent.wire.checkpoint import Checkpoint, seal_checkpoint
from agent.wire.fleetlog import LogEntry, read_proof
from agent.wire.messages import Heartbeat, Outcome, decode
from fleet import audit, cli, merkle_log, schema
from fleet.checkpoints import BEHIND, CONTRADICTED
from fleet.control_room import ControlRoom
from fleet.engine import add_rows
from tests.fleet.conftest import Running, running, until
from tests.fleet.intake import CITY, Bench
from tests.fleet.standin import StandIn

Asked = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], trust_folder: Path) -> Asked:
    def run(*words: object, keys: bool = True) -> tuple[int, str]:
        more = ["--keys", str(trust_folder)] if keys else []
        code = cli.main(["audit", *(str(word) for word in words), *more])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out + err

    return run


def publish(bench: Bench, fleet: str = "control-room") -> str:
    """A checkpoint over everything so far."""
    log = bench.ingest.standing.log
    note = seal_checkpoint(bench.trust.director, Checkpoint(CITY, fleet, log.size, log.root()))
    bench.store.transact(
        lambda connection: add_rows(connection, schema.log_checkpoints, [(log.size, int(time.time() * 1000), note)])
    )
    return note


@pytest.fixture
def kept(bench: Bench, standin: Callable[..., StandIn], tmp_path: Path) -> Path:
    """A manager's folder with 300 records, a checkpoint after 100 and one at the end; the first also as a file."""
    voice = standin()
    bench.take(voice.birth())
    bench.take(*(voice.samples({"segment-1/level_percent": n}) for n in range(100)))
    (tmp_path / "old.note").write_text(publish(bench))
    bench.take(*(voice.samples({"segment-1/level_percent": n}) for n in range(199)))
    bench.take(voice.say("result", OUTCOME))
    publish(bench)
    return tmp_path


OUTCOME = Outcome(
    1, "c1", "gw-darcy", "segment-1", "set-level", "alice/1", "done", "", "", "level 60", 1_800_000_000_000
)
RECORD = "gw-darcy/state/1/7"


def corrupt(folder: Path, statement: str, **values: object) -> None:
    engine = create_engine(f"sqlite:///{folder / 'fleet.db'}")
    with engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount
    engine.dispose()


def test_the_log_names_what_was_stored_and_nothing_twice(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    first, second = (voice.samples({"segment-1/level_percent": n}) for n in (1, 2))
    bench.take(first, first, second)
    bench.take(first, (second[0], second[1][:-1] + b"x"), voice.say("result", OUTCOME), voice.say("result", OUTCOME))
    with audit.opened(Path(bench.store.place).parent) as connection:
        names = [decode(data, LogEntry).name for _, _, data in merkle_log.entries_from(connection)]
    assert names == ["state", "state", "c1"]


def test_a_record_is_proved_from_a_file_alone(kept: Path, ask: Asked) -> None:
    code, proof = ask("prove", "--dir", kept, "--record", RECORD)
    assert code == 0
    (kept / "r7.proof").write_text(proof)
    code, told = ask("verify", kept / "r7.proof")
    assert (code, told.split(":")[0]) == (0, "good")
    assert "its gateway signed it" in told
    assert "of 300 entries" in told
    assert ask("verify", "--dir", kept, "--record", RECORD)[0] == 0


def test_one_changed_character_anywhere_makes_a_proof_worthless(kept: Path, ask: Asked, trust_folder: Path) -> None:
    _, proof = ask("prove", "--dir", kept, "--record", RECORD)
    path = kept / "changed.proof"
    for place in range(0, len(proof), max(1, len(proof) // 120)):
        changed = "B" if proof[place] == "A" else "A"
        path.write_text(proof[:place] + changed + proof[place + 1 :])
        code, told = ask("verify", path)
        assert (code, told.split(":")[0]) == (4, "BAD"), (place, told)


def test_the_log_is_shown_to_have_only_grown_since_an_old_checkpoint(kept: Path, ask: Asked) -> None:
    code, proof = ask("prove", "--dir", kept, "--since", kept / "old.note")
    assert code == 0
    (kept / "growth.proof").write_text(proof)
    code, told = ask("verify", kept / "growth.proof", "--checkpoint", kept / "old.note")
    assert (code, told) == (
        0,
        "good: armoire/1/dijon/control-room/log of 300 entries begins with what it was at 100 entries.\n",
    )
    for place in range(0, len(proof), max(1, len(proof) // 60)):
        changed = "B" if proof[place] == "A" else "A"
        (kept / "growth.proof").write_text(proof[:place] + changed + proof[place + 1 :])
        assert ask("verify", kept / "growth.proof")[0] == 4, place


def test_a_whole_database_is_whole(kept: Path, ask: Asked) -> None:
    code, told = ask("verify", "--dir", kept, "--checkpoint", kept / "old.note")
    assert (code, told.splitlines()[-1]) == (0, "whole: everything is as it was signed for.")
    assert told.startswith("300 entries, 3 checkpoints and 300 envelopes compared")


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("UPDATE log_entries SET entry = CAST(entry || x'00' AS BLOB) WHERE no = 17", "not those that were signed for"),
        ("UPDATE log_entries SET entry = 'text' WHERE no = 17", "is damaged"),
        ("DELETE FROM log_entries WHERE no = 299", "of which only 299 are here"),
        ("DELETE FROM log_entries WHERE no = 40", "entry 40 is missing"),
        ("UPDATE log_tiles SET hashes = CAST(x'00' || substr(hashes, 2) AS BLOB)", "the stored hashes"),
        ("UPDATE log_checkpoints SET note = replace(note, '300', '299') WHERE size = 300", "not to be believed"),
        ("DELETE FROM links WHERE seq = 9", "its envelope is gone"),
        ("UPDATE links SET envelope = (SELECT envelope FROM links WHERE seq = 8) WHERE seq = 9", "the envelope is not"),
        ("DELETE FROM results", "its envelope is gone: result c1"),
        (
            "INSERT INTO links SELECT 999, 1, 'tele', 1, 1, hash, stored_ms, envelope FROM links WHERE no = 1",
            "it names",
        ),
    ],
)
def test_whatever_is_changed_in_the_database_is_found(kept: Path, ask: Asked, statement: str, word: str) -> None:
    corrupt(kept, statement)
    code, told = ask("verify", "--dir", kept)
    assert code == 4
    assert word in told


def test_a_history_rewritten_with_the_managers_own_key_contradicts_what_others_keep(
    kept: Path, ask: Asked, bench: Bench, standin: Callable[..., StandIn]
) -> None:
    """Who owns the machine may make a new log; the checkpoint a gateway has kept does not fit it."""
    for table in ("log_entries", "log_tiles", "log_checkpoints", "links", "heads", "results", "samples"):
        corrupt(kept, f"DELETE FROM {table}")
    bench.ingest.rolled_back(bench.store.standing())
    voice = standin()
    bench.take(*(voice.samples({"segment-1/level_percent": 0}) for n in range(300)))
    publish(bench)
    assert ask("verify", "--dir", kept)[0] == 0
    code, told = ask("verify", "--dir", kept, "--checkpoint", kept / "old.note")
    assert code == 4
    assert "the first 100 entries are not those that were signed for" in told
    _, growth = ask("prove", "--dir", kept, "--since", kept / "old.note")
    (kept / "growth.proof").write_text(growth)
    assert ask("verify", kept / "growth.proof")[0] == 4


def test_show_and_checkpoint_print_what_is_there(kept: Path, ask: Asked) -> None:
    code, told = ask("show", "--dir", kept, "--limit", 3, keys=False)
    assert code == 0
    assert [line.split()[0] for line in told.splitlines()] == ["297", "298", "299"]
    assert "result" in told
    code, told = ask("show", "--dir", kept, "--from", 5, "--limit", 1, "--json", keys=False)
    assert '"place":5' in told
    code, told = ask("checkpoint", "--dir", kept, keys=False)
    assert told.splitlines()[:2] == ["armoire/1/dijon/control-room/log", "300"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("prove", "--dir", "{}", "--record", "gw-darcy/state/1/9999"), "is not stored here"),
        (("prove", "--dir", "{}", "--record", "what"), "expected gateway/stream/epoch/number"),
        (("prove", "--dir", "{}", "--entry", "300"), "covers entries 0..299"),
        (("prove", "--dir", "{}"), "say one of"),
        (("prove", "--dir", "{}", "--since", "{}/fleet.db"), "a checkpoint of more than"),
        (("verify",), "name a proof file"),
        (("verify", "{}/nothing"), "cannot be read"),
        (("verify", "--dir", "{}/nowhere"), "there is no database"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(kept: Path, ask: Asked, words: tuple[str, ...], why: str) -> None:
    code, told = ask(*(word.format(kept) for word in words))
    assert code == 4
    assert why in told


def test_a_file_that_is_no_proof_is_bad(kept: Path, ask: Asked) -> None:
    (kept / "junk").write_text("armoire log proof 1\nhash x\n\n")
    assert ask("verify", kept / "junk") == (4, "BAD: not base64: 'x'\n")


def test_every_answer_is_read_by_programs_too(kept: Path, ask: Asked) -> None:
    def document(*words: object, ended: int = 0, keys: bool = True) -> dict[str, Any]:
        code, told = ask(*words, "--json", keys=keys)
        assert code == ended, told
        found: dict[str, Any] = msgspec.json.decode(told)
        return found

    newest = document("checkpoint", "--dir", kept, keys=False)
    assert (newest["size"], newest["note"]) == (300, ask("checkpoint", "--dir", kept, keys=False)[1])
    whole = document("verify", "--dir", kept)
    assert (whole["is_good"], whole["wrong"], whole["entries"], whole["newest"]["root"]) == (
        True, [], 300, newest["root"]
    )  # fmt: skip
    (kept / "r7.proof").write_text(document("prove", "--dir", kept, "--record", RECORD)["proof"])
    proven = document("verify", kept / "r7.proof")
    assert (proven["is_good"], proven["entry"]["number"], proven["has_envelope"]) == (True, 7, True)
    (kept / "growth.proof").write_text(ask("prove", "--dir", kept, "--since", kept / "old.note")[1])
    assert document("verify", kept / "growth.proof")["older"]["size"] == 100
    corrupt(kept, "DELETE FROM links WHERE stream = 'state' AND seq = 7")
    bad = document("verify", "--dir", kept, ended=4)
    assert (bad["is_good"], bool(bad["wrong"])) == (False, True)
    (kept / "r7.proof").write_text("junk")
    assert document("verify", kept / "r7.proof", ended=4)["is_good"] is False


async def test_a_running_manager_logs_key_lists_and_commands_and_tells_its_checkpoint(
    manager: Running, standin: Callable[..., StandIn], tmp_path: Path
) -> None:
    room = manager.room
    await until(lambda: room.checkpoints.note)
    assert room.checkpoints.note.startswith("armoire/1/dijon/control-room/log\n1\n")
    async with manager.live(standin()).connected():
        await until(lambda: room.registry.gateways.get("gw-darcy"))
        await until(lambda: room.registry.gateway("gw-darcy").nonces)
        body = {"gateway": "gw-darcy", "equipment": "segment-1", "verb": "set-level", "operator": "alice"}
        answer = (
            await manager.http.post("/api/commands", json={**body, "args": {"level_percent": 60, "lease_s": 60}})
        ).json()
    with audit.opened(tmp_path) as connection:
        entries = [decode(data, LogEntry) for _, _, data in merkle_log.entries_from(connection)]
        assert entries[0].kind == "keys"
        issued = [entries[n].kind for n in audit.places_of_command(connection, answer["command_id"])]
        assert issued[0] == "command.issued"


async def test_a_restarted_manager_goes_on_with_its_log_and_does_not_log_the_same_key_list_again(
    tmp_path: Path, trust_folder: Path, broker_port: int
) -> None:
    for _ in range(2):
        async with running(tmp_path, trust_folder, broker_port) as inside:
            await until(lambda: inside.room.checkpoints.note)
            assert inside.room.ingest.standing.log.size == 1


@pytest.mark.parametrize(("size", "kind"), [(1, ""), (7, BEHIND)])
async def test_a_gateway_that_remembers_more_than_the_log_has_is_an_event(
    manager: Running, standin: Callable[..., StandIn], size: int, kind: str
) -> None:
    room = manager.room
    await until(lambda: room.checkpoints.note)
    await remember(room, size, room.ingest.standing.log.root())
    assert [event.kind for event in await room.events(5, "gw-darcy", "") if event.kind.startswith("log.")] == [
        kind
    ] * bool(kind)


async def test_a_gateway_that_remembers_another_root_is_an_event_once(manager: Running) -> None:
    room = manager.room
    await until(lambda: room.checkpoints.note)
    for _ in range(3):
        await remember(room, 1, bytes(32))
    assert [event.kind for event in await room.events(5, "gw-darcy", "")] == [CONTRADICTED]


async def remember(room: ControlRoom, size: int, root: bytes) -> None:
    beat = Heartbeat("gw-darcy", 1, 1, 1, 2, {}, {}, [], 0, log_size=size, log_root=root)
    await room.checkpoints.told(beat, 1_800_000_000_000)


def test_every_proof_reads_as_it_was_written(kept: Path, ask: Asked) -> None:
    for words in (("--entry", "0"), ("--entry", "299"), ("--since", str(kept / "old.note"))):
        _, proof = ask("prove", "--dir", kept, *words)
        assert read_proof(proof).text == proof
