"""The guard as a process: killed, stopped, started twice, started on nonsense."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from agent.process.client import LocalClient
from agent.wire.local import GetEquipment, GetStatus
from tests.guard.living import launch, living_guard
from tests.guard.rig import FLASH, junction_rig

pytestmark = pytest.mark.slow
PLAN_2 = {"plan": 2, "lease_s": 300}
RSS_BYTES_MAX = 50 * 2**20  # measured: 42 MB with SNMP


def name_a_token(key_file: Path) -> None:
    """Its module is no file, so the guard has not even asked for it where it says nothing of that."""
    kid = key_file.read_text().splitlines()[0]
    key_file.write_text(f"{kid}\npkcs11:token=a;object=b?module-path=/no/such/module.so\n")


async def test_a_latch_survives_kill_9_and_a_restart() -> None:
    async with living_guard("conflict") as guard:
        await guard.start()
        guard.signals.fault("stuck_green:4")
        guard.signals.fault("stuck_green:1")
        latched = await guard.view_when("latch")
        assert (await guard.end(signal.SIGKILL))[0] == -signal.SIGKILL
        flashes = guard.patterns.count(FLASH)
        assert flashes <= 1
        await guard.start()
        view = await guard.view()
        assert view.mode == "held"
        assert view.latch == latched.latch
        outcome = await guard.ask("select-plan", PLAN_2)
        assert (outcome.ended, outcome.rule) == ("refused", "SR-13")
        outcome = await guard.ask("reset")
        assert (outcome.ended, outcome.rule) == ("refused", "SR-13")
        assert guard.patterns.count(FLASH) <= 1
        assert set(guard.patterns) <= {0, FLASH}


async def test_a_plan_is_released_by_sigterm_within_the_time_systemd_gives() -> None:
    async with living_guard() as guard:
        await guard.start()
        assert (await guard.ask("select-plan", PLAN_2)).ended == "done"
        code, errors = await guard.end(signal.SIGTERM)
        assert (code, errors) == (0, "")
        assert guard.patterns == [2, 0]
        assert not guard.socket.exists()


async def test_after_kill_9_under_a_lease_the_next_start_holds_nothing_and_the_controller_is_left_to_its_watchdog() -> (
    None
):
    async with living_guard() as guard:
        await guard.start()
        assert (await guard.ask("select-plan", PLAN_2)).ended == "done"
        await guard.end(signal.SIGKILL)
        await guard.start()
        assert (await guard.view()).holding == ""
        assert guard.patterns == [2]


async def test_a_guard_with_a_folder_of_its_own_leaves_nothing_in_the_agents() -> None:
    async with living_guard() as guard:
        own, shared = guard.site.parent / "own", guard.site.parent / "state"
        own.mkdir(mode=0o750)
        (shared / "keys").rename(own / "keys")
        guard.site.write_text(guard.site.read_text().replace("[guard]\n", '[guard]\nstate = "own"\n', 1))
        guard.client = LocalClient(own / "guard.sock")
        await guard.start()
        assert (await guard.ask("select-plan", PLAN_2)).ended == "done"  # It is no fact that anybody signs.
        assert (own / "guard.db").exists()
        assert list(shared.iterdir()) == []


async def test_a_second_guard_on_the_same_ledger_refuses_to_start() -> None:
    async with living_guard() as guard:
        await guard.start()
        second = await launch(guard.site)
        _, errors = await second.communicate()
        assert second.returncode == 2
        assert "another process has it open" in errors.decode()
        assert "Traceback" not in errors.decode()
        assert (await guard.view()).link == "answers"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state: (state / "keys/keys.sealed").unlink(), "enrol the gateway first"),
        (lambda state: (state / "keys/guard.pem").chmod(0o644), "others may read this private key"),
        (lambda state: name_a_token(state / "keys/guard.pem"), "the guard takes none, because a token that is slow"),
        (lambda state: (state / "keys/keys.sealed").write_bytes(b"\0" * 100), "guard:"),
        (lambda state: (state.parent / "site.toml").write_text("[site]\nname = 1"), "site.toml"),
        (lambda state: (state.parent / "site.toml").write_bytes(b"\xff\xfe"), "guard:"),
    ],
    ids=["no key list", "open key", "token", "torn key list", "bad site", "no text"],
)
async def test_what_it_cannot_start_from_is_said_in_a_sentence(spoil, said: str) -> None:  # type: ignore[no-untyped-def]
    async with living_guard() as guard:
        spoil(guard.site.parent / "state")
        process = await launch(guard.site)
        _, errors = await process.communicate()
        text = errors.decode()
        assert process.returncode == 2
        assert said in text
        assert "The guard controls nothing" in text
        assert "Traceback" not in text


async def test_hostile_clients_cost_the_guard_no_scan() -> None:
    """Sixteen half-open, slow and garbage clients at once; the scan goes on at its beat."""
    async with living_guard() as guard:
        await guard.start()
        before = (await guard.status()).figures
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        clients = [await asyncio.open_unix_connection(str(guard.socket)) for _ in range(14)]
        for number, (_, writer) in enumerate(clients):
            match number % 3:
                case 0:
                    writer.write(b"\0\0\1\0" + os.urandom(10))  # Half a frame.
                case 1:
                    writer.write(os.urandom(200))
                case _:
                    writer.write(b"\0\0\0\5" + b"\x93\1\2\3\4")  # A whole frame that is no request.
        for _ in range(200):
            await guard.client.ask(GetEquipment(""))
            await guard.client.ask(GetStatus())
        await asyncio.sleep(max(0.0, started_s + 2.0 - loop.time()))  # What is measured is a rate.
        ticks = int(str((await guard.status()).figures["ticks"])) - int(str(before["ticks"]))
        elapsed_s = loop.time() - started_s
        assert ticks >= elapsed_s * 10 - 5
        for _, writer in clients:
            writer.close()
        assert guard.process is not None
        assert psutil.Process(guard.process.pid).memory_info().rss < RSS_BYTES_MAX


async def test_the_socket_of_a_killed_guard_is_replaced() -> None:
    async with living_guard() as guard:
        await guard.start()
        await guard.end(signal.SIGKILL)
        assert guard.socket.is_socket()
        await guard.start()
        assert oct(Path(guard.socket).stat().st_mode & 0o777) == "0o660"


async def test_the_guard_answers_the_group_of_its_state_folder_and_no_other() -> None:
    async with junction_rig() as rig:
        state = rig.site.parent / "state"
        ours, strangers = state.stat().st_gid, state.stat().st_gid + 1
        nobody = 65_534
        assert rig.guard.server.may_speak(nobody, frozenset({strangers, ours}))
        assert not rig.guard.server.may_speak(nobody, frozenset({strangers}))
