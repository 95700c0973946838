"""What the fleet wants until it says otherwise: taken once signed and newer, on disk before it is used, judged at each use."""

from pathlib import Path

import pytest

from agent.process.clock import Clock
from agent.runtime import desired
from agent.runtime.desired import DesiredState, GenerationError
from agent.runtime.desiredfile import read_sealed, write_sealed
from agent.runtime.journal import GENERATION
from agent.wire.errors import CapabilityError, MessageError, SignatureError, TrustError, WireError
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, Desired, DesiredReport, DesiredSetting, Value
from agent.wire.sealing import seal_message
from agent.wire.topics import Topic, down
from tests.guard.people import OTHER_GATEWAY
from tests.runtime.rig import METER, OTHER, SEGMENT, LampRig, lamp_rig

NIGHT = "night_level_percent"
PLAN_PERCENT, FLOOR_PERCENT = 80, 30
Line = tuple[str, str, Value]


def topic_of(rig: LampRig) -> Topic:
    return down(rig.people.city, rig.people.gateway, "desired")


def signed(
    rig: LampRig,
    generation: int,
    *lines: Line,
    signer: Signer | None = None,
    gateway: str = "",
    topic: Topic | None = None,
) -> bytes:
    settings = [DesiredSetting(*line) for line in lines]
    document = Desired(SCHEMA, gateway or rig.people.gateway, generation, rig.unix_ms(), settings)
    return seal_message(signer or rig.people.director, topic or topic_of(rig), document)


async def give(rig: LampRig, sealed: bytes) -> DesiredReport:
    """Have a document arrive, and the agent settle with it."""
    rig.agent.desired.receive(topic_of(rig), sealed)
    await rig.agent.desired.settle()
    return rig.agent.desired.report()


def stands(report: DesiredReport) -> list[tuple[str, str, str]]:
    return [(each.equipment, each.status, each.rule) for each in report.settings]


def begin_anew(rig: LampRig) -> DesiredState:
    """As after a power cut: nothing is left of what was in memory."""
    for segment in rig.agent.segments.values():
        segment.want_night_level(None)
    agent, clock = rig.agent, Clock(rig.now_ms, rig.unix_ms)
    path, ring = rig.state / "desired.sealed", rig.people.ring
    agent.desired = DesiredState(
        path, agent._journal, agent._site, lambda: ring, agent.segments, agent.recorder, clock, agent.uplink.beat
    )
    return agent.desired


async def test_a_newer_document_changes_the_local_plan_and_is_reported() -> None:
    async with lamp_rig() as rig:
        assert rig.agent.desired.report() == DesiredReport(0, b"", [])
        report = await give(rig, signed(rig, 7, (SEGMENT, NIGHT, 45)))
        assert (report.generation, stands(report)) == (7, [(SEGMENT, "applied", "")])
        await rig.poll(2)
        assert (rig.level(0), rig.level(1)) == (45, PLAN_PERCENT)
        assert await rig.texts("desired.taken") == ["generation 7 is kept to: 1 settings"]
        assert await rig.texts("desired.applied") == [f"{NIGHT}: it is in the local plan"]


async def test_a_document_replaces_the_one_before_as_a_whole() -> None:
    async with lamp_rig() as rig:
        await give(rig, signed(rig, 1, (SEGMENT, NIGHT, 45)))
        await give(rig, signed(rig, 2, (OTHER, NIGHT, 50)))
        await rig.poll(2)
        assert (rig.level(0), rig.level(1)) == (PLAN_PERCENT, 50)
        await give(rig, signed(rig, 3))
        await rig.poll(2)
        assert (rig.level(0), rig.level(1)) == (PLAN_PERCENT, PLAN_PERCENT)


async def test_what_the_kernel_refuses_stays_as_commissioned_and_the_rest_is_applied() -> None:
    async with lamp_rig() as rig:
        lines: list[Line] = [
            (SEGMENT, NIGHT, FLOOR_PERCENT - 1),
            (OTHER, NIGHT, 50),
            (OTHER, NIGHT, 60),
            (METER, NIGHT, 50),
            ("seg-nowhere", NIGHT, 50),
            ("seg-darcy-3", "night_level", 50),
            ("seg-darcy-3", NIGHT, True),
            ("seg-darcy-3", NIGHT, 101),
        ]
        report = await give(rig, signed(rig, 1, *lines))
        assert [each[1:] for each in stands(report)] == [
            ("refused", "LR-01"), ("applied", ""), ("refused", "SR-08"), ("refused", "SR-01"), ("refused", "SR-01"),
            ("refused", "SR-01"), ("refused", "SR-08"), ("refused", "SR-08"),
        ]  # fmt: skip
        assert "29 % is below the floor of 30 %" in report.settings[0].reason
        await rig.poll(2)
        assert (rig.level(0), rig.level(1)) == (PLAN_PERCENT, 50)
        assert len(await rig.log("desired.refused")) == 7


async def test_a_level_below_the_floor_is_refused_by_day_too() -> None:
    async with lamp_rig(night=False) as rig:
        assert stands(await give(rig, signed(rig, 1, (SEGMENT, NIGHT, 10)))) == [(SEGMENT, "refused", "LR-01")]


async def test_under_the_manual_switch_it_waits_and_is_applied_when_the_switch_is_back() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.set(override_0=True)
        await rig.poll(2)
        assert stands(await give(rig, signed(rig, 1, (SEGMENT, NIGHT, 45)))) == [(SEGMENT, "refused", "LR-03")]
        rig.cabinet.set(override_0=False)
        await rig.poll(2)
        assert stands(rig.agent.desired.report()) == [(SEGMENT, "applied", "")]


async def test_an_override_still_comes_before_the_plan() -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.alice, 70)
        await give(rig, signed(rig, 1, (SEGMENT, NIGHT, 45)))
        await rig.poll(2)
        assert rig.level() == 70
        assert (await rig.ask(rig.people.alice, SEGMENT, "release-level")).reason == "back to the local plan, 45 %"


async def test_an_older_generation_played_again_changes_nothing_also_after_a_restart() -> None:
    async with lamp_rig() as rig:
        old, new = signed(rig, 1, (SEGMENT, NIGHT, 40)), signed(rig, 2, (SEGMENT, NIGHT, 60))
        await give(rig, old)
        await give(rig, new)
        with pytest.raises(GenerationError, match="generation 1 after 2"):
            rig.agent.desired.receive(topic_of(rig), old)
        with pytest.raises(GenerationError, match="generation 1 after 2"):
            begin_anew(rig).receive(topic_of(rig), old)
        await rig.poll(3)
        assert rig.level() == 60


async def test_the_same_document_again_is_harmless_and_another_under_its_number_is_an_alarm() -> None:
    async with lamp_rig() as rig:
        first = signed(rig, 5, (SEGMENT, NIGHT, 45))
        await give(rig, first)
        assert (await give(rig, first)).generation == 5
        other = signed(rig, 5, (SEGMENT, NIGHT, 90))
        for _ in range(2):
            with pytest.raises(GenerationError, match="another document of generation 5"):
                rig.agent.desired.receive(topic_of(rig), other)
        await rig.poll(2)
        assert rig.level() == 45
        assert len(await rig.log("desired.contradicted")) == 1


async def test_only_the_directors_signature_for_this_very_gateway_counts() -> None:
    async with lamp_rig() as rig:
        line: Line = (SEGMENT, NIGHT, 45)
        elsewhere = down(rig.people.city, OTHER_GATEWAY, "desired")  # type: ignore[arg-type]
        ack = down(rig.people.city, rig.people.gateway, "ack")
        wrong: list[tuple[bytes, type[Exception]]] = [
            (signed(rig, 1, line, topic=elsewhere, gateway=OTHER_GATEWAY), SignatureError),
            (signed(rig, 1, line, topic=ack), SignatureError),
            (signed(rig, 1, line, gateway=OTHER_GATEWAY), MessageError),
            (signed(rig, 1, line, signer=rig.people.alice), CapabilityError),
            (signed(rig, 1, line)[:-1] + b"\x00", SignatureError),
        ]
        for sealed, error in wrong:
            with pytest.raises(error):
                rig.agent.desired.receive(topic_of(rig), sealed)
        with pytest.raises(GenerationError):
            rig.agent.desired.receive(elsewhere, signed(rig, 1, line, topic=elsewhere, gateway=OTHER_GATEWAY))
        await rig.agent.desired.settle()
        assert rig.agent.desired.report().generation == 0


async def test_a_power_cut_between_disk_and_use_comes_back_with_the_new_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lamp_rig() as rig:
        await give(rig, signed(rig, 1, (SEGMENT, NIGHT, 40)))

        class PowerCut(BaseException):
            pass

        def stored_then_dark(path: Path, sealed: bytes) -> None:
            write_sealed(path, sealed)
            raise PowerCut

        monkeypatch.setattr(desired, "write_sealed", stored_then_dark)
        rig.agent.desired.receive(topic_of(rig), signed(rig, 2, (SEGMENT, NIGHT, 60)))
        with pytest.raises(PowerCut):
            await rig.agent.desired.settle()
        assert rig.agent.desired.report().generation == 1
        assert begin_anew(rig).report().generation == 2
        await rig.poll(2)
        assert rig.level() == 60


async def test_nothing_is_used_before_it_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    async with lamp_rig() as rig:

        def full(_path: Path, _sealed: bytes) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(desired, "write_sealed", full)
            assert (await give(rig, signed(rig, 1, (SEGMENT, NIGHT, 45)))).generation == 0
        await rig.poll(2)
        assert rig.level() == PLAN_PERCENT
        await rig.agent.desired.settle()  # The disk takes it again: nobody had to send it again.
        await rig.poll(2)
        assert (rig.level(), rig.agent.desired.report().generation) == (45, 1)


async def test_a_torn_write_leaves_the_document_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async with lamp_rig() as rig:
        await give(rig, signed(rig, 1, (SEGMENT, NIGHT, 45)))
        (rig.state / ".desired.sealed.1-1").write_bytes(signed(rig, 2, (SEGMENT, NIGHT, 60))[:40])
        assert begin_anew(rig).report().generation == 1
        await rig.poll(2)
        assert rig.level() == 45


async def test_a_damaged_file_is_set_aside_and_told() -> None:
    async with lamp_rig() as rig:
        await give(rig, signed(rig, 3, (SEGMENT, NIGHT, 45)))
        path = rig.state / "desired.sealed"
        path.write_bytes(path.read_bytes()[:50])
        assert begin_anew(rig).report().generation == 0
        assert len(await rig.log("desired.damaged")) == 1
        await rig.poll(2)
        assert rig.level() == PLAN_PERCENT
        assert not read_sealed(path)
        assert path.with_suffix(".damaged").exists()


@pytest.mark.parametrize("lost", ["deleted", "damaged", "unreadable"])
async def test_no_older_document_is_taken_when_the_file_of_the_newest_is_lost_and_the_newest_is_again(
    lost: str,
) -> None:
    async with lamp_rig() as rig:
        old, newest = signed(rig, 2, (SEGMENT, NIGHT, 40)), signed(rig, 3, (SEGMENT, NIGHT, 45))
        await give(rig, old)
        await give(rig, newest)
        path = rig.state / "desired.sealed"
        match lost:
            case "deleted":
                path.unlink()
            case "damaged":
                path.write_bytes(b"\xd2")
            case _:
                path.unlink()
                path.mkdir()  # What is read fails; what is written, too, until somebody clears it.
        assert begin_anew(rig).report().generation == 0
        with pytest.raises(GenerationError, match="generation 2 after 3"):
            rig.agent.desired.receive(topic_of(rig), old)
        if lost == "unreadable":
            path.rmdir()
        assert (await give(rig, newest)).generation == 3
        await rig.poll(2)
        assert rig.level() == 45


async def test_the_number_of_a_document_is_kept_in_the_ledger_before_it_is_used() -> None:
    async with lamp_rig() as rig:
        await give(rig, signed(rig, 3, (SEGMENT, NIGHT, 45)))
        assert await rig.agent._journal._ask(lambda ledger: ledger.last_number(GENERATION)) == 3
        database = rig.agent._journal._ledger._database
        database.execute("PRAGMA query_only=1")
        assert (await give(rig, signed(rig, 4, (SEGMENT, NIGHT, 50)))).generation == 3
        database.execute("PRAGMA query_only=0")
        await rig.agent.desired.settle()
        assert rig.agent.desired.report().generation == 4


async def test_the_number_of_a_document_from_before_ledgers_kept_it_is_kept_from_the_first_turn_on() -> None:
    async with lamp_rig() as rig:
        write_sealed(rig.state / "desired.sealed", signed(rig, 6, (SEGMENT, NIGHT, 45)))
        await begin_anew(rig).settle()
        (rig.state / "desired.sealed").unlink()
        with pytest.raises(GenerationError, match="generation 5 after 6"):
            begin_anew(rig).receive(topic_of(rig), signed(rig, 5, (SEGMENT, NIGHT, 45)))


async def test_a_document_whose_signer_is_believed_no_longer_is_not_used_but_its_number_counts() -> None:
    async with lamp_rig() as rig:
        await give(rig, signed(rig, 3, (SEGMENT, NIGHT, 45)))
        stranger = signed(rig, 3, (SEGMENT, NIGHT, 45), signer=rig.people.stranger)
        write_sealed(rig.state / "desired.sealed", stranger)
        report = begin_anew(rig).report()
        assert (report.generation, report.settings) == (3, [])
        assert len(await rig.log("desired.not-believed")) == 1
        with pytest.raises(GenerationError):
            rig.agent.desired.receive(topic_of(rig), signed(rig, 2, (SEGMENT, NIGHT, 45)))
        await rig.poll(2)
        assert rig.level() == PLAN_PERCENT


async def test_hostile_bytes_are_refused_and_change_nothing() -> None:
    async with lamp_rig() as rig:
        good = signed(rig, 1, (SEGMENT, NIGHT, 45))
        for place in range(0, len(good), 7):
            with pytest.raises((WireError, TrustError)):
                rig.agent.desired.receive(topic_of(rig), good[:place] + bytes((good[place] ^ 1,)) + good[place + 1 :])
        assert rig.agent.desired.report().generation == 0
