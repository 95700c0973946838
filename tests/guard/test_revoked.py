"""What a key holds is given back when a key list takes it away; what a commissioner signed, too."""

from collections.abc import Callable

import msgspec
import pytest

from agent.guard.commissioned import UNSIGNED
from agent.wire.demotrust import COMMISSIONER_FILE
from agent.wire.keyfile import Signer, read_signer
from agent.wire.local import Noted, TellFleetSeen
from agent.wire.topics import down
from agent.wire.trust import KeyEntry
from tests.guard.officers import Officers
from tests.guard.people import OTHER_GATEWAY
from tests.guard.rig import FLASH, JunctionRig, junction_rig

J = "j-republique"
PLAN_2 = {"plan": 2, "lease_s": 300}
DAY_MS = 24 * 3_600_000
Changed = Callable[[JunctionRig, KeyEntry], list[KeyEntry]]


def removed(_rig: JunctionRig, _entry: KeyEntry) -> list[KeyEntry]:
    return []


def without_the_capability(_rig: JunctionRig, entry: KeyEntry) -> list[KeyEntry]:
    return [msgspec.structs.replace(entry, capabilities=("command:R2",))]


def elsewhere(_rig: JunctionRig, entry: KeyEntry) -> list[KeyEntry]:
    return [msgspec.structs.replace(entry, scope=(OTHER_GATEWAY,))]


def another_key_of_that_name(_rig: JunctionRig, entry: KeyEntry) -> list[KeyEntry]:
    new = Signer.from_seed(entry.kid, bytes(32))
    return [msgspec.structs.replace(entry, algorithm=new.algorithm, public_key=new.public_key)]


def ended(rig: JunctionRig, entry: KeyEntry) -> list[KeyEntry]:
    return [msgspec.structs.replace(entry, not_after_ms=rig.unix_ms() - DAY_MS)]


def a_director(_rig: JunctionRig, entry: KeyEntry) -> list[KeyEntry]:
    return [msgspec.structs.replace(entry, role="director")]


async def deliver(rig: JunctionRig, kid: str, changed: Changed) -> None:
    """The officers' next list, in which something happened to one key."""
    officers = Officers(rig.site.parent / "trust")
    (entry,) = (each for each in officers.newest.keys if each.kid == kid)
    sealed = officers.sign(without=[kid], more=changed(rig, entry))
    topic = str(down(rig.people.city, rig.people.gateway, "keys"))
    assert await rig.client.ask(TellFleetSeen(topic, sealed)) == Noted()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (removed, "alice/1 commands no more by key list 2"),
        (without_the_capability, "alice may not sign what is of class R1"),
        (elsewhere, "alice may not command gw-republique"),
        (another_key_of_that_name, "alice/1 commands no more by key list 2"),
        (ended, "alice/1 is no longer valid"),
        (a_director, "alice/1 commands no more by key list 2"),
    ],
)
async def test_sr_25_a_plan_is_given_back_with_the_next_sample_when_its_key_is_taken_away(
    changed: Changed, why: str
) -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.hear_fleet()
        assert (await rig.ask(rig.people.alice, J, "select-plan", PLAN_2)).ended == "done"
        await deliver(rig, "alice/1", changed)
        await rig.tick()
        assert rig.patterns == [2, 0]
        assert (await rig.view(J)).holding == ""
        (end,) = await rig.log("lease.end")
        assert end.text == f"SR-25: its key was revoked: {why}; release confirmed"


async def test_sr_25_a_flash_is_given_back_when_the_key_of_its_second_signer_is_taken_away() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.hear_fleet()
        lease = {"lease_s": 300}
        assert (await rig.ask(rig.people.alice, J, "flash", lease, rig.people.bruno)).ended == "done"
        await deliver(rig, "bruno/1", removed)
        await rig.tick()
        assert rig.patterns == [FLASH, 0]


async def test_what_other_keys_hold_outlasts_a_key_list() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.hear_fleet()
        assert (await rig.ask(rig.people.alice, J, "select-plan", PLAN_2)).ended == "done"
        await deliver(rig, "bruno/1", removed)
        await rig.run(5)
        assert rig.patterns == [2]
        assert (await rig.view(J)).holding.startswith("plan 2")


async def test_sr_30_a_commissioner_taken_out_of_the_list_takes_the_signatures_along_at_once() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.hear_fleet()
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        kid = read_signer(rig.site.parent / "trust" / COMMISSIONER_FILE).kid.decode()
        await deliver(rig, kid, removed)
        await rig.tick()
        assert rig.patterns == [2, 0]
        (end,) = await rig.log("lease.end")
        assert end.text.startswith("SR-30: held: site not commissioned")
        (told,) = await rig.log(UNSIGNED)
        why = f"its signature is not believed: no key b'{kid}' in key list 2"
        assert told.text == f"site not commissioned: {why}; observing only, every control is refused"
        assert f"site not commissioned: {why}; observing only, every control is refused (SR-30)" in (
            (await rig.status()).warnings
        )
        refused = await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)
        assert (refused.ended, refused.rule) == ("refused", "SR-30")
        assert (await rig.ask(rig.people.technician, J, "release")).ended == "done"


async def test_sr_30_a_commissioners_key_that_only_ended_keeps_its_signatures() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        kid = read_signer(rig.site.parent / "trust" / COMMISSIONER_FILE).kid.decode()
        await deliver(rig, kid, lambda _rig, entry: [msgspec.structs.replace(entry, not_after_ms=_rig.unix_ms())])
        await rig.run(1)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        assert await rig.log(UNSIGNED) == []
