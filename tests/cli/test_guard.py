"""The guard's black box as a technician meets it: shown, written out, checked."""

import contextlib
import io
import os
import random
import shutil
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import journal_file
from agent.cli.gateway import Gateway
from agent.cli.journal_export import Export, Writing
from agent.cli.journal_file import opened
from agent.cli.journal_records import Records
from agent.ledger.ledger import Ledger
from agent.process.clock import Clock
from agent.wire.demotrust import KEYS_FILE, ROOTS_FILE, make_demo_trust
from agent.wire.keyfile import read_signer
from agent.wire.local import Failed, GetLog, GetPage, GetStatus, LogIs, PageIs, Reply, Request
from agent.wire.messages import Event, StreamHead, Value
from agent.wire.verification import verify
from tests.cli.canned import CITY, GATEWAY, NOW_MS, Executor, serving
from tests.cli.conftest import Said, Type

J, B = "j-wilson", "bollard-rameau"
SIGNED: dict[str, Value] = {"signed by": "alice, bruno", "issuer": "alice/1"}


@pytest.fixture
def keys(state: Path, trust: Path) -> Path:
    """The gateway's key list where its processes have it."""
    for name in (KEYS_FILE, ROOTS_FILE):
        (state / "keys" / name).write_bytes((trust / name).read_bytes())
    return state / "keys"


@contextlib.contextmanager
def ledger(state: Path, trust: Path) -> Iterator[Ledger]:
    signer = read_signer(trust / "gateways" / GATEWAY / "guard.pem")
    opened = Ledger(state / "guard.db", signer, CITY, GATEWAY, ("safety",), Clock())
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def sealed(state: Path, trust: Path, keys: Path) -> Path:
    """A guard's database after some hours, with the guard down; two epochs."""
    with ledger(state, trust) as guard:
        with guard.atomic():
            for number in range(150):
                guard.append_events("safety", [Event(-3_600_000, "trip", J, "SR-02", f"old {number}", {})])
        guard.raise_epoch("safety", 0, "forked: for the test", 150)
        guard.append_events("safety", [Event(0, "latch.set", J, "SR-02", "groups 1 and 3 green together", {})])
        guard.append_events("safety", [Event(0, "command.refused", B, "SR-19", "raise: loop A is occupied", SIGNED)])
    return state / "guard.db"


class LivingLedger:
    """A guard that is up: it has its ledger open and answers for it."""

    def __init__(self, opened: Ledger, guard: Executor) -> None:
        self.ledger, self.guard = opened, guard
        self.asked = 0

    def answer(self, request: Request) -> Reply | bytes:
        match request:
            case GetLog(equipment=equipment, limit=limit):
                return LogIs(self.ledger.log(equipment, limit))
            case GetPage(stream=stream, epoch=epoch, seq=seq, limit=limit):
                self.asked += 1
                page = self.ledger.page(stream, (epoch, seq), limit)
                return PageIs(page.newest, page.kept_bytes, page.rows)
            case GetStatus():
                return self.guard.status()
        return Failed("not canned")


@pytest.fixture
def living(state: Path, trust: Path, sealed: Path, guard: Executor) -> Iterator[LivingLedger]:
    with ledger(state, trust) as guards:
        living = LivingLedger(guards, guard)
        with serving(state / "guard.sock", living.answer):
            yield living


def test_the_log_of_a_guard_that_is_down_is_read_from_its_database(type_: Type, sealed: Path) -> None:
    before = sealed.read_bytes()
    said = type_("guard log -n 2")
    assert said.exit == 0
    assert "the guard is down" in said.err
    lines = said.out.splitlines()
    assert lines[0].split() == ["time", "record", "equipment", "kind", "rule", "what", "who"]
    assert "latch.set" in lines[-2]
    assert "loop A is occupied" in lines[-1]
    assert lines[-1].split()[-2:] == ["alice,", "bruno"]
    assert sealed.read_bytes() == before


def test_the_log_of_a_living_guard_is_its_own_word(type_: Type, living: LivingLedger) -> None:
    said = type_(f"guard log --equipment {B} --json")
    assert (said.exit, said.err) == (0, "")
    assert said.document["seen_by"] == "guard"
    assert [(each["kind"], each["who"]) for each in said.document["entries"]] == [("command.refused", "alice, bruno")]


@pytest.mark.parametrize("up", [True, False])
def test_since_leaves_out_what_is_older(type_: Type, request: pytest.FixtureRequest, up: bool) -> None:
    request.getfixturevalue("living" if up else "sealed")
    recent = type_("guard log --since 30m --json").document["entries"]
    assert [each["kind"] for each in recent] == ["stream.epoch", "latch.set", "command.refused"]
    assert len(type_("guard log --since 2h --json -n 500").document["entries"]) > 150
    later = time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() + 3600))
    assert type_(f"guard log --since {later}").out == "Nothing on record.\n"


def test_a_since_that_is_no_time_is_refused_with_what_to_write(type_: Type, sealed: Path) -> None:
    said = type_("guard log --since yesterday")
    assert said.exit == 2
    assert "neither a duration nor a time. Write --since 2h" in said.err


def export(type_: Type, file: Path, *more: str) -> Said:
    return type_("guard export", str(file), *more)


def test_what_is_exported_verifies_and_is_the_same_from_socket_and_database(
    type_: Type, state: Path, trust: Path, sealed: Path, guard: Executor, tmp_path: Path
) -> None:
    down, up = tmp_path / "down.bin", tmp_path / "up.bin"
    said = export(type_, down)
    assert said.exit == 0
    assert f"wrote {down}: 153 records of {GATEWAY}" in said.out
    with ledger(state, trust) as guards:
        living = LivingLedger(guards, guard)
        with serving(state / "guard.sock", living.answer):
            assert export(type_, up).exit == 0
    assert living.asked == 4, "page by page, never all at once; and once to learn whose they are"
    assert up.read_bytes() == down.read_bytes()
    for more in ((), ("--keys", str(trust))):
        said = type_("guard verify", str(up), *more)
        assert said.exit == 0
        assert "whole. 153 records" in said.out
        assert said.out.count("epoch ") == 2
        assert ("The keys are the file's own word" in said.out) is (not more)


def test_verify_needs_no_cabinet(type_: Type, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "box.bin"
    export(type_, file)
    monkeypatch.setenv("ARMOIRE_STATE", str(tmp_path / "nowhere"))
    assert type_("guard verify", str(file)).exit == 0


def test_verify_names_the_first_bad_record_and_ends_with_4(type_: Type, sealed: Path, tmp_path: Path) -> None:
    file = tmp_path / "box.bin"
    export(type_, file)
    data = bytearray(file.read_bytes())
    data[-3_000] ^= 1
    file.write_bytes(data)
    said = type_("guard verify", str(file))
    assert said.exit == 4
    assert "BAD at record 1" in said.out
    assert "of the file, due as record 1" in said.out
    assert "expected: a record that gw-darcy sealed for safety." in said.out
    assert "records before it are verified" in said.out
    finding = type_("guard verify", str(file), "--json").document["finding"]
    assert finding["place"] == "record"
    assert finding["kind"] in {"signature", "envelope"}


def test_a_dry_run_reads_everything_and_writes_nothing(type_: Type, sealed: Path, tmp_path: Path) -> None:
    file = tmp_path / "box.bin"
    said = export(type_, file, "--dry-run")
    assert said.exit == 0
    assert "would write" in said.out
    assert export(type_, file, "--dry-run", "--json").document["records"] == 153
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_by_force(type_: Type, sealed: Path, tmp_path: Path) -> None:
    file = tmp_path / "box.bin"
    file.write_text("mine")
    said = export(type_, file)
    assert said.exit == 2
    assert "exists. Nothing was written" in said.err
    assert file.read_text() == "mine"
    assert export(type_, file, "--force").exit == 0
    assert type_("guard verify", str(file)).exit == 0
    assert [each.name for each in tmp_path.iterdir()] == ["box.bin"]


def test_what_cannot_be_written_or_read_is_said_in_a_sentence(type_: Type, sealed: Path, tmp_path: Path) -> None:
    assert export(type_, tmp_path).exit == 2
    assert export(type_, tmp_path / "no" / "box.bin").exit == 2
    assert type_("guard verify", str(tmp_path)).exit == 2
    assert type_("guard verify", str(tmp_path / "none")).exit == 2
    assert type_("guard verify", "/dev/zero").exit == 4
    assert type_("guard verify", "/dev/null").exit == 4
    assert type_("guard verify", str(sealed), "--keys", str(tmp_path)).exit == 2
    assert "truncated" in type_("guard verify", "/dev/null").out


def test_without_guard_and_database_the_technician_is_told(type_: Type, state: Path, tmp_path: Path) -> None:
    for said in (type_("guard log"), export(type_, tmp_path / "box.bin")):
        assert said.exit == 6
        assert "has no socket" in said.err
        assert "there is no" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_guard_that_hangs_is_not_read_behind_its_back(
    type_: Type, state: Path, trust: Path, sealed: Path, tmp_path: Path
) -> None:
    with ledger(state, trust):
        said = type_("guard log")
        assert said.exit == 6
        assert "the guard has no socket" in said.err


def test_a_guard_with_a_folder_of_its_own_is_found_beside_the_agents(
    type_: Type, state: Path, sealed: Path, keys: Path, tmp_path: Path
) -> None:
    own = state.with_name(f"{state.name}-guard")
    own.mkdir()
    try:
        sealed.rename(own / sealed.name)
        keys.rename(own / "keys")
        assert "latch.set" in type_("guard log").out
        file = tmp_path / "box.bin"
        assert export(type_, file).exit == 0
        assert type_("guard verify", str(file)).exit == 0
    finally:
        shutil.rmtree(own)


@pytest.mark.parametrize("spoil", ["garbage", "layout", "torn"])
def test_a_damaged_database_is_told(type_: Type, sealed: Path, tmp_path: Path, spoil: str) -> None:
    match spoil:
        case "garbage":
            sealed.write_bytes(random.Random(1).randbytes(8192))
        case "layout":
            data = bytearray(sealed.read_bytes())
            data[60:64] = (99).to_bytes(4, "big")
            sealed.write_bytes(data)
        case _:
            data = bytearray(sealed.read_bytes())
            data[4096:] = os.urandom(len(data) - 4096)
            sealed.write_bytes(data)
    for said in (type_("guard log"), export(type_, tmp_path / "box.bin")):
        assert said.exit == 6
        assert "cannot be read" in said.err
    assert list(tmp_path.iterdir()) == []


def test_without_a_key_list_a_living_guard_still_gives_its_records(
    type_: Type, living: LivingLedger, keys: Path, trust: Path, tmp_path: Path
) -> None:
    (keys / KEYS_FILE).unlink()
    file = tmp_path / "box.bin"
    said = export(type_, file)
    assert said.exit == 0
    assert "whoever checks it needs --keys" in said.err
    assert type_("guard verify", str(file)).exit == 4
    assert type_("guard verify", str(file), "--keys", str(trust)).exit == 0


def test_keys_of_another_city_or_another_guard_do_not_vouch(type_: Type, sealed: Path, tmp_path: Path) -> None:
    file = tmp_path / "box.bin"
    export(type_, file)
    for city, kind in ((CITY, "signature"), ("lyon", "keys")):
        make_demo_trust(tmp_path / city, city, [GATEWAY], now_ms=NOW_MS)
        document = type_("guard verify", str(file), "--json", "--keys", str(tmp_path / city)).document
        assert (document["whole"], document["finding"]["kind"]) == (False, kind)


class Disordered(LivingLedger):
    """Hands out its records over and over."""

    def answer(self, request: Request) -> Reply | bytes:
        return super().answer(GetPage("safety", 0, 0, 2) if isinstance(request, GetPage) else request)


def test_records_handed_out_in_no_order_or_not_at_all_end_the_export(
    type_: Type, state: Path, trust: Path, sealed: Path, guard: Executor, tmp_path: Path
) -> None:
    with ledger(state, trust) as guards:
        with serving(state / "guard.sock", Disordered(guards, guard).answer):
            assert export(type_, tmp_path / "box.bin").exit == 4
        far = StreamHead("safety", 2**31, 5, bytes(32))
        for page in (PageIs(far, 30, [(1, 5, b"\0" * 30)]), PageIs(far, 0, [])):

            def answer(_request: Request, page: PageIs = page) -> Reply:
                return page

            with serving(state / "guard.sock", answer):
                assert export(type_, tmp_path / "box.bin").exit == 4
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    """Somebody who looks."""

    def isatty(self) -> bool:
        return True


def test_the_bar_shows_only_to_somebody_who_waits_for_a_long_file(
    type_: Type, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "box.bin"
    export(type_, file)
    monkeypatch.setattr(journal_file, "PROGRESS_FROM_BYTES", 0)
    assert type_("guard verify", str(file)).err == ""
    for length, shown in ((10**7, True), (0, False)):
        monkeypatch.setattr(journal_file, "PROGRESS_FROM_BYTES", 1)
        monkeypatch.setattr(sys, "stderr", Terminal())
        with journal_file.progress("checking", length) as told:
            assert (told is not None) is shown
            if told is not None:
                told(length // 2)


def test_a_long_stream_is_exported_and_verified_in_little_memory(
    type_: Type, state: Path, trust: Path, keys: Path, tmp_path: Path
) -> None:
    with ledger(state, trust) as guard, guard.atomic():
        for number in range(6_000):
            guard.append_events("safety", [Event(0, "trip", J, "SR-02", f"{number}" + 400 * "x", {})])
    file = tmp_path / "box.bin"
    assert export(type_, file).exit == 0

    def write() -> None:
        with opened(file, force=True, dry_run=True) as target:
            Export(Records(Gateway(state), "guard"), ("safety",), Writing()).write(target)

    def check() -> None:
        with file.open("rb") as source:
            assert verify(source).finding is None

    for work in (write, check):
        tracemalloc.start()
        try:
            work()
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert file.stat().st_size > 3_500_000
        assert peak_bytes < 1_500_000  # Of which the key list, however short, is read with room for a long one.


def test_a_head_that_rises_meanwhile_is_left_for_the_next_export(
    type_: Type, state: Path, trust: Path, living: LivingLedger, tmp_path: Path
) -> None:
    answer = living.answer

    def busy(request: Request) -> Reply | bytes:
        reply = answer(request)
        living.ledger.append_events("safety", [Event(0, "x", "", "", "", {})])
        return reply

    with serving(state / "guard2.sock", busy):
        (state / "guard.sock").unlink()
        (state / "guard2.sock").rename(state / "guard.sock")
        assert export(type_, tmp_path / "box.bin", "--json").document["records"] == 154
    assert isinstance(living.ledger.head("safety"), StreamHead)
