"""Lamps burn on floors that nobody signed, and the technician is told."""

from tests.runtime.rig import SEGMENT, lamp_rig


async def test_signed_floors_are_not_worth_a_word() -> None:
    async with lamp_rig() as rig:
        assert (await rig.status()).warnings == []


async def test_floors_that_changed_after_the_signature_are_kept_and_told() -> None:
    async with lamp_rig(photocell=True) as rig:
        (told,) = (await rig.status()).warnings
        assert told == (
            "the floors of the lighting are not commissioned: its facts have changed since commissioner signed them; "
            "they are kept as the file has them"
        )
        assert rig[SEGMENT].segment.level_floor_percent == 30
