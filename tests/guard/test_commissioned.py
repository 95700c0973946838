"""A guard goes by facts that somebody signed, or it only observes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.guard.commissioned import SIGNED, UNSIGNED
from agent.model.site_file import read_cabinet
from agent.safety.mode import Mode
from agent.wire.commissioning import SUFFIX, seal_facts
from agent.wire.demotrust import COMMISSIONER_FILE, sign_demo_site
from agent.wire.keyfile import Signer, read_signer
from tests.guard.people import OTHER_GATEWAY
from tests.guard.rig import UNIX_MS, bollard_rig, junction_rig

J, B = "j-republique", "bollard-rameau"
PLAN_2 = {"plan": 2, "lease_s": 300}
Spoil = Callable[[Path], None]


def signature(site: Path) -> Path:
    return site.with_name(site.name + SUFFIX)


def changed(old: str, new: str) -> Spoil:
    def spoil(site: Path) -> None:
        text = site.read_text()
        assert text.count(old) >= 1, old
        site.write_text(text.replace(old, new, 1))

    return spoil


def signed_by(name: str) -> Spoil:
    """By a key of the same city's list, which is not a commissioner's."""

    def spoil(site: Path) -> None:
        sign_with(site, read_signer(site.parent / "trust" / name))

    return spoil


def sign_with(site: Path, signer: Signer, signed_ms: int = UNIX_MS) -> None:
    cabinet = read_cabinet(site.read_text(), site.name)
    sealed = seal_facts(
        signer, cabinet, site.parent, signed_ms=signed_ms, tool="test", report=bytes(32), proved="nothing"
    )
    signature(site).write_bytes(sealed)


def unsigned(site: Path) -> None:
    signature(site).unlink()


def cut(site: Path) -> None:
    signature(site).write_bytes(signature(site).read_bytes()[:-1])


def bent(site: Path) -> None:
    sealed = bytearray(signature(site).read_bytes())
    sealed[-1] ^= 1
    signature(site).write_bytes(sealed)


def endless(site: Path) -> None:
    signature(site).write_bytes(bytes(5_000))


def of_a_stranger(site: Path) -> None:
    """A key that bears the commissioner's name and is not in the list."""
    sign_with(site, Signer.from_seed("commissioner/1", bytes(32)))


def of_nobody(site: Path) -> None:
    sign_with(site, Signer.from_seed("nobody/1", bytes(32)))


def of_another_cabinet(site: Path) -> None:
    """The same facts, signed for the other gateway of the city."""
    text = site.read_text()
    own = read_cabinet(text, site.name).site.gateway
    site.write_text(text.replace(f'gateway = "{own}"', f'gateway = "{OTHER_GATEWAY}"'))
    sign_demo_site(site.parent / "trust", site, UNIX_MS)
    site.write_text(text)


def before_its_time(site: Path) -> None:
    sign_with(site, read_signer(site.parent / "trust" / COMMISSIONER_FILE), signed_ms=1)


SPOILED: dict[str, tuple[Spoil, str]] = {
    "no signature": (unsigned, "there is no site.toml.sig"),
    "a conflict less": (changed("[1, 2], ", ""), "its facts have changed since commissioner signed them"),
    "a lower floor": (changed("green_min_s = 6", "green_min_s = 5"), "its facts have changed"),
    "another address": (changed('snmp = { address = "127.0.0.1:', 'snmp = { address = "127.0.0.2:'), "facts have"),
    "another door": (changed("unit = 1\n", "unit = 2\n"), "its facts have changed"),
    "a stage more": (changed("plans = [1, 2]", "plans = [1, 2]\nstages = [[1]]"), "its facts have changed"),
    "an operator's key": (signed_by("operators/alice.pem"), "alice/1 may not sign"),
    "the director's key": (signed_by("fleet/director.pem"), "director/1 may not sign"),
    "a foreign key of that name": (of_a_stranger, "its signature is damaged, or was made for another cabinet"),
    "a foreign key": (of_nobody, "no key b'nobody/1' in key list 1"),
    "cut short": (cut, "its signature is not believed: a byte string is cut short"),
    "one bit": (bent, "its signature is damaged, or was made for another cabinet"),
    "endless": (endless, "site.toml.sig is longer than 4096 bytes"),
    "replayed of another cabinet": (of_another_cabinet, "its signature is damaged, or was made for another cabinet"),
    "signed before the key was valid": (before_its_time, "it was signed when commissioner/1 was not valid"),
}


@pytest.mark.parametrize(("spoil", "why"), SPOILED.values(), ids=SPOILED)
async def test_sr_30_nothing_is_controlled_on_facts_that_nobody_signed(spoil: Spoil, why: str) -> None:
    async with junction_rig(before=spoil) as rig:
        await rig.run(1)
        mode = rig[J].mode()
        assert (mode.mode, mode.rule) == (Mode.HELD, "SR-30")
        assert mode.cause.startswith("site not commissioned: ")
        assert why in mode.cause
        assert mode.cleared_by == "armoire commission sign, then restart"
        refused = await rig.ask_at_once(rig.people.technician, J, "select-plan", PLAN_2)
        assert (refused.ended, refused.rule) == ("refused", "SR-30")
        assert "site not commissioned" in refused.reason
        assert rig.patterns == []


async def test_sr_30_unsigned_facts_still_watch_release_latch_and_alarm_and_never_flash() -> None:
    async with junction_rig(before=unsigned, verdict="conflict") as rig:
        rig.guard.commissioning.tell(rig.guard.records)
        await rig.run(1)
        assert (await rig.ask(rig.people.alice, J, "release")).ended == "done"
        rig.signals.fault("stuck_green:4")
        await rig.run_until(lambda: rig[J].latch is not None)
        await rig.run(2)
        assert set(rig.patterns) == {0}
        assert len(await rig.log("trip")) >= 2
        (told,) = await rig.log(UNSIGNED)
        assert told.rule == "SR-30"
        assert told.text == (
            "site not commissioned: there is no site.toml.sig; observing only, every control is refused"
        )
        assert any("site not commissioned" in each for each in (await rig.status()).warnings)
        assert (await rig.view(J)).mode_cause.startswith("site not commissioned")


async def test_sr_30_an_unsigned_bollard_is_lowered_and_never_raised() -> None:
    async with bollard_rig(before=changed("loops_free_s_min = 2", "loops_free_s_min = 3")) as rig:
        await rig.run(8)
        assert (await rig.ask(rig.people.technician, B, "raise")).rule == "SR-30"
        assert (await rig.ask(rig.people.technician, B, "lower")).ended == "done"


async def test_what_no_rule_rests_on_may_change_without_a_signature() -> None:
    def touch(site: Path) -> None:
        for old, new in (
            ("Place de la République, a junction", "A junction"),
            ("poll_ms = 500", "poll_ms = 700"),
            ('name = "Crossing east"', 'name = "Crossing west-east"'),
            ("[47.32845, 5.04702]", "[47.32, 5.04]"),
            ("dijon-write", "dijon-rotated"),
        ):
            changed(old, new)(site)

    async with junction_rig(before=touch) as rig:
        assert rig[J].mode().mode is not Mode.HELD
        rig.guard.commissioning.tell(rig.guard.records)
        (told,) = await rig.log(SIGNED)
        assert told.text == "facts signed by commissioner with demonstration: nothing: a demonstration"
        assert list((await rig.status()).warnings) == []
