"""A malicious agent that plays the fleet: what it holds back, repeats, forges or dates ahead keeps no lease alive."""

from agent.model.observation import ClockQuality
from agent.process.timekeeper import Timekeeper
from agent.wire.local import Failed, Noted, OutcomeIs, Submit, TellFleetSeen
from agent.wire.messages import SCHEMA, FleetState
from agent.wire.sealing import seal_message
from agent.wire.topics import fleet_state
from tests.attack.siege import PLAN, stranger
from tests.guard.rig import UNIX_MS, JunctionRig, junction_rig

J = "j-republique"
SILENCE_S = 120
YEAR_MS = 365 * 86_400_000
RECENT_S = 90
"""How old a state may be and still count as heard: agent.wire.leadership.FLEET_STALE_MS."""


def state_of(rig: JunctionRig, beat: int, ahead_ms: int = 0, term: int = 1) -> FleetState:
    return FleetState(SCHEMA, "fleet-1", term, "broker-1", rig.unix_ms() + ahead_ms, beat, 1)


async def tell(rig: JunctionRig, state: FleetState) -> bool:
    """Hand over a state that the director signed; whether it was a message at all."""
    topic = fleet_state(rig.people.city)
    reply = await rig.client.ask(TellFleetSeen(str(topic), seal_message(rig.people.director, topic, state)))
    return isinstance(reply, Noted)


async def fleet(rig: JunctionRig) -> str:
    return (await rig.status()).fleet


async def test_a_state_played_again_and_again_keeps_no_lease_alive() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await tell(rig, last := state_of(rig, 7))
        assert (await rig.ask(rig.people.alice, J, "select-plan", PLAN)).ended == "done"
        for _ in range(SILENCE_S // 10 + 2):
            await rig.run(10)
            await tell(rig, last)
        assert await fleet(rig) == "silent"
        assert rig.patterns[-1] == 0
        assert (await rig.view(J)).holding == ""
        assert await tell(rig, state_of(rig, 8))
        assert await fleet(rig) == "up"


async def test_states_kept_back_and_given_out_one_by_one_prolong_by_their_age_and_no_more() -> None:
    """The guard's clock is known, and each state says when it was signed."""
    async with junction_rig() as rig:
        await rig.run(1)
        hoard = [state_of(rig, beat) for beat in range(1, 200)]
        heard_s = 0
        for state in hoard:
            await tell(rig, state)
            rig.clock.advance(2.0)
            heard_s += 2
            if await fleet(rig) == "silent":
                break
        assert heard_s <= RECENT_S + SILENCE_S + 2


async def restart_without_the_time(rig: JunctionRig) -> None:
    """Ends the guard; the next one's host knows neither date nor network."""
    await rig.vanish()
    rig.wall_ms, rig.is_kept = -UNIX_MS, False
    rig.people.clock_ms = lambda: UNIX_MS + rig.now_ms()


async def test_without_the_time_states_kept_back_last_as_long_as_there_are_any_but_a_lease_no_longer_than_it_was() -> (
    None
):
    async with junction_rig() as rig:
        await rig.run(1)
        hoard = [state_of(rig, beat) for beat in range(1, 6)]
        await restart_without_the_time(rig)
        async with rig.guarding():
            await tell(rig, hoard[0])
            assert await fleet(rig) == "awaited", (
                "one state, which a broker may have kept for years, is no sign of life"
            )
            await tell(rig, hoard[1])
            await rig.run(1)
            assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN)).ended == "done"
            for state in hoard[2:]:
                assert await fleet(rig) == "up"
                await rig.rest(SILENCE_S - 10)
                await tell(rig, state)
            assert await fleet(rig) == "up", "for longer than a known clock would let them"
            assert (await rig.view(J)).holding == "", "and the lease was over after its 300 s"
            await rig.rest(SILENCE_S + 10)
            await tell(rig, hoard[-1])
            assert await fleet(rig) == "silent"


async def test_a_state_ten_years_ahead_heard_before_the_time_is_known_expires_no_key() -> None:
    async with junction_rig() as rig:
        await restart_without_the_time(rig)
        async with rig.guarding():
            keeper = Timekeeper(rig.guard._clock, rig.guard._note_time, rig.guard.records.keep_floor)
            for beat in (1, 2, 3):
                assert await tell(rig, state_of(rig, beat, UNIX_MS + 10 * YEAR_MS))
                await rig.run(1)
                await keeper.look()
            assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN)).ended == "done"
            rig.wall_ms, rig.is_kept = 0, True
            await keeper.look()
            assert rig.guard._clock.quality() is ClockQuality.NETWORK
            assert (await rig.ask(rig.people.technician, J, "release")).ended == "done"
            assert (await rig.status()).figures.get("rejected unknown-key", 0) == 0
            assert await rig.guard.records._read(lambda ledger: ledger.floor_ms) == 0, "nothing of it is kept"


async def test_what_a_known_clock_confirmed_is_kept_and_expires_old_keys_in_a_start_without_the_time() -> None:
    async with junction_rig() as rig:
        rig.wall_ms = 10 * YEAR_MS - rig.now_ms() - 5_000  # The keys are good for 5 s more.
        keeper = Timekeeper(rig.guard._clock, rig.guard._note_time, rig.guard.records.keep_floor)
        await tell(rig, state_of(rig, 1))
        await keeper.look()
        confirmed_ms = rig.unix_ms()
        await restart_without_the_time(rig)
        async with rig.guarding():
            rig.guard._clock.raise_floor(rig.guard.records.floor_ms)  # As Guard.run does.
            assert abs(rig.guard._clock.earliest_ms() - confirmed_ms) < 1_000
            await tell(rig, state_of(rig, 2, UNIX_MS))
            await tell(rig, state_of(rig, 3, UNIX_MS))
            assert await fleet(rig) == "awaited", "played again"
            sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN)
            assert isinstance(await rig.client.ask(Submit(sealed)), OutcomeIs)
            await rig.run(6)
            sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN)
            assert isinstance(await rig.client.ask(Submit(sealed)), Failed)


async def test_a_state_from_the_future_is_not_a_sign_of_life() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        rig.clock.advance(SILENCE_S + 1.0)
        assert await fleet(rig) == "silent"
        for ahead_s in (91, 3_600, 10**9):
            assert await tell(rig, state_of(rig, ahead_s, 1_000 * ahead_s))
            assert await fleet(rig) == "silent"
        await tell(rig, state_of(rig, 10**9 + 1))
        assert await fleet(rig) == "up"


async def test_who_is_not_the_director_is_not_the_fleet() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        rig.clock.advance(SILENCE_S + 1.0)
        topic = fleet_state(rig.people.city)
        for signer in (rig.people.alice, rig.people.technician, stranger("director/1"), stranger("director/9")):
            sealed = seal_message(signer, topic, state_of(rig, 1, term=9))
            assert isinstance(await rig.client.ask(TellFleetSeen(str(topic), sealed)), Failed)
        assert await fleet(rig) == "silent"
        figures = (await rig.status()).figures
        assert (figures["rejected capability"], figures["rejected signature"], figures["rejected unknown-key"]) == (
            2,
            1,
            1,
        )
