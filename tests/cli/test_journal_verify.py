"""An exported journal as somebody meets it who has nothing but the file and the city's keys."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from agent.wire.blackbox import JournalHeader
from agent.wire.checkpoint import Checkpoint, seal_checkpoint
from agent.wire.demotrust import KEYS_FILE, ROOTS_FILE, make_demo_trust
from agent.wire.envelope import digest
from agent.wire.fleetlog import RecordProof, link_entry
from agent.wire.keyfile import read_signer
from agent.wire.merkle import leaf_hash
from agent.wire.messages import SCHEMA, Event
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from tests.cli.canned import CITY, GATEWAY, NOW_MS
from tests.cli.conftest import Type
from tests.cli.journals import FOREIGN, STREAMS, Rows, journal_of, ledger, rows_of, signer, told, verified


def test_a_journal_is_exported_from_a_disk_image_and_verified_with_nothing_but_the_keys(
    type_: Type, file: Path, city: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ARMOIRE_STATE", str(tmp_path / "nowhere"))
    said = verified(type_, file, city)
    assert said.exit == 0
    assert f"{file}: whole." in said.out
    for stream in STREAMS:
        assert f"{stream} records of {GATEWAY} in {CITY}" in said.out
    assert "of them are signed gap records: the gateway let go of" in said.out
    assert f"The keys are vouched for by the officers in {city / ROOTS_FILE}" in said.out
    document = verified(type_, file, city, "--json").document
    parts = {part["stream"]: part for part in document["streams"]}
    assert list(parts) == list(STREAMS)
    assert [len(part["epochs"]) for part in parts.values()] == [2, 1, 1, 1]
    assert (parts["tele"]["gap_records"], parts["tele"]["epochs"][0]["last"]) == (1, 90)
    assert parts["tele"]["shed"] == 20 * (90 - parts["tele"]["records"] + 1)
    assert document["whole"]


def test_the_officers_keys_may_be_pinned_by_their_hash(type_: Type, file: Path, city: Path, tmp_path: Path) -> None:
    pin = sha256((city / ROOTS_FILE).read_bytes()).hexdigest()
    for root in (pin, f"sha256:{pin.upper()}"):
        assert type_("journal verify", str(file), "--keys", str(city), "--root", root).exit == 0
    said = type_("journal verify", str(file), "--keys", str(city), "--root", pin[::-1])
    assert said.exit == 2
    assert "is not the one with the SHA-256 you named. Nothing was checked." in said.err
    make_demo_trust(tmp_path / "other", CITY, [GATEWAY], now_ms=NOW_MS)
    other = tmp_path / "other" / ROOTS_FILE
    said = type_("journal verify", str(file), "--keys", str(city / KEYS_FILE), "--root", str(other))
    assert said.exit == 2
    assert "the keys cannot be used" in said.err
    said = type_("journal verify", str(file), "--root", pin)
    assert (said.exit, "name the city's key list with --keys" in said.err.lower()) == (2, True)


def test_an_export_cut_in_the_middle_is_told_wherever_it_was_cut(
    type_: Type, file: Path, city: Path, image: Path
) -> None:
    data = file.read_bytes()
    parts = {stream: rows_of(image / "agent.db", stream) for stream in STREAMS}
    assert data == journal_of(city, parts)
    boundary = len(journal_of(city, {"alarm": parts["alarm"]})) + len(
        JournalHeader(SCHEMA, CITY, GATEWAY, [*STREAMS]).bytes
    )
    boundary -= len(JournalHeader(SCHEMA, CITY, GATEWAY, ["alarm"]).bytes)
    for size in (10, 30, 1_500, len(data) // 2, boundary, len(data) - 1):
        code, said = told(type_, file, city, data[:size])
        assert code == 4
        assert "BAD at" in said
    code, said = told(type_, file, city, data[: len(data) // 2])
    assert "truncated." in said
    assert "found: the end of the file." in said
    assert "records before it are verified; nothing behind it was looked at." in said
    code, said = told(type_, file, city, data[:boundary])
    assert "BAD at the header (alarm)" in said or "BAD at the header" in said
    assert told(type_, file, city, data + b"x")[1].splitlines()[0].endswith("trailing.")


def test_a_flipped_bit_is_told_with_the_record_it_is_in(type_: Type, file: Path, city: Path) -> None:
    data = file.read_bytes()
    for at in (3, 25, 40, len(data) // 3, len(data) // 2, len(data) - 3):
        code, said = told(type_, file, city, data[:at] + bytes((data[at] ^ 16,)) + data[at + 1 :])
        assert code == 4, at
        assert "BAD at" in said
    code, said = told(
        type_, file, city, data[: len(data) // 3] + bytes((data[len(data) // 3] ^ 1,)) + data[len(data) // 3 + 1 :]
    )
    assert "expected: a record that gw-darcy sealed for" in said


def altered(image: Path, stream: str, change: Callable[[Rows], object]) -> dict[str, Rows]:
    rows = rows_of(image / "agent.db", stream)
    change(rows)
    return {stream: rows}


def test_swapped_doubled_and_dropped_records_are_told_even_if_the_forger_counts_anew(
    type_: Type, file: Path, city: Path, image: Path
) -> None:
    def swap(rows: Rows) -> None:
        rows[4], rows[5] = rows[5], rows[4]

    cases: Sequence[tuple[Callable[[Rows], object], str, str]] = (
        (swap, "due as record 5 of epoch", "record 6: record 5 missing"),
        (lambda rows: rows.insert(3, rows[2]), "due as record 4 of epoch", "record 3, which stands before"),
        (lambda rows: rows.__delitem__(slice(7, 9)), "due as record 8 of epoch", "record 10: records 8..9 missing"),
    )
    for change, place, found in cases:
        code, said = told(type_, file, city, journal_of(city, altered(image, "state", change)))
        assert code == 4
        assert place in said
        assert f"found: {found}." in said


def test_records_of_another_gateway_are_told(type_: Type, file: Path, city: Path, image: Path, tmp_path: Path) -> None:
    with ledger(tmp_path / "other.db", signer(city, FOREIGN), FOREIGN) as other:
        other.append_events("audit", [Event(0, "x", "", "", "not ours", {})])
    foreign = rows_of(tmp_path / "other.db", "audit")
    code, said = told(type_, file, city, journal_of(city, {"audit": foreign}))
    assert code == 4
    assert "expected: a record that gw-darcy sealed for audit." in said
    assert "signature" in said
    assert told(type_, file, city, journal_of(city, {"audit": foreign}, FOREIGN))[0] == 0, "as what it is, it is good"
    parts = journal_of(city, {"audit": rows_of(image / "agent.db", "audit")})
    mixed = (
        JournalHeader(SCHEMA, CITY, FOREIGN, ["audit"]).bytes
        + parts[len(JournalHeader(SCHEMA, CITY, GATEWAY, ["audit"]).bytes) :]
    )
    code, said = told(type_, file, city, mixed)
    assert (code, "BAD at the header" in said) == (4, True)


def test_two_histories_under_one_identity_are_told_as_a_fork(
    type_: Type, file: Path, city: Path, image: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes((image / "agent.db").read_bytes())
    for path in (copy, image / "agent.db"):
        with ledger(path, signer(city)) as one:
            one.append_events("audit", [Event(0, "x", "", "", path.name, {})])
    rows = [*rows_of(image / "agent.db", "audit"), rows_of(copy, "audit")[-1]]
    code, said = told(type_, file, city, journal_of(city, {"audit": rows}))
    assert code == 4
    assert "fork." in said
    assert "found: another record 2: two histories under one identity (a store that was restored or copied)." in said


def test_records_signed_with_a_key_that_was_taken_out_are_told(
    type_: Type, file: Path, city: Path, tmp_path: Path
) -> None:
    """The thief keeps the key; the city's newer list does not have it any more."""
    without = tmp_path / "without"
    make_demo_trust(without, CITY, [FOREIGN], now_ms=NOW_MS)
    said = type_("journal verify", str(file), "--keys", str(without))
    assert said.exit == 4
    assert "unknown-key." in said.out
    assert f"found: no key b'{GATEWAY}/" in said.out
    assert "nothing before it; nothing behind it was looked at." in said.out


def proof_of(city: Path, rows: Rows, place: int) -> str:
    """As ``armoire-fleet audit prove`` prints one, of a log with one entry."""
    epoch, seq, sealed = rows[place]
    entry = link_entry(GATEWAY, "audit", epoch, seq, NOW_MS, digest(sealed))
    director = read_signer(next((city / "fleet").glob("*director*.pem")))
    note = seal_checkpoint(director, Checkpoint(load(city).city, "room", 1, leaf_hash(entry)))
    return RecordProof(entry, 0, (), note, sealed).text


def load(city: Path) -> KeyRing:
    return load_key_list((city / KEYS_FILE).read_bytes(), read_roots((city / ROOTS_FILE).read_text()))


def test_a_proof_shows_that_a_record_of_the_file_is_in_the_fleet_s_log(
    type_: Type, file: Path, city: Path, image: Path, tmp_path: Path
) -> None:
    rows, proof, note = rows_of(image / "agent.db", "audit"), tmp_path / "r.proof", tmp_path / "kept.note"
    text = proof_of(city, rows, 0)
    proof.write_text(text)
    note.write_text(text.partition("\n\n")[2])
    more = ("--proof", str(proof), "--checkpoint", str(note))
    said = verified(type_, file, city, *more)
    assert said.exit == 0
    assert f"record 1 of epoch {rows[0][0]} of audit is entry 0 of armoire/1/{CITY}/room/log of 1 entries." in said.out
    assert verified(type_, file, city, *more, "--json").document["proofs"][0]["good"]
    part = tmp_path / "part.bin"
    part.write_bytes(journal_of(city, {"audit": [], "alarm": rows_of(image / "agent.db", "alarm")}))
    said = verified(type_, part, city, *more)
    assert said.exit == 4
    assert "is not among the verified records of this file" in said.out
    proof.write_text(text.replace("entry ", "entry A", 1))
    said = verified(type_, file, city, *more)
    assert (said.exit, "r.proof: BAD:" in said.out) == (4, True)
