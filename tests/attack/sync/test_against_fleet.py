"""What an attacker sends the fleet manager: real ingest on a real database, real envelopes. Named after Uptane's list."""

from collections.abc import Callable

import msgspec
import pytest

from agent.wire import envelope, topics
from agent.wire.messages import SAMPLES_PER_BATCH_MAX
from fleet import changes, schema
from fleet.standing import POINTS_PER_GATEWAY_MAX
from tests.attack.sync.targets import COMMAND
from tests.fleet.intake import Bench
from tests.fleet.standin import SEGMENT, StandIn, unix_ms

MakeVoice = Callable[..., StandIn]
YEAR_MS = 365 * 86_400_000


def on(topic: str, message: tuple[str, bytes]) -> tuple[str, bytes]:
    """The same bytes, on another topic."""
    return topic, message[1]


def test_replay_of_a_link_is_stored_once(bench: Bench, standin: MakeVoice) -> None:
    voice = standin()
    links = [voice.samples({"a/b": n}) for n in range(3)]
    bench.take(*links)
    bench.take(*links, *reversed(links))
    assert (bench.count(schema.links), bench.count(schema.samples)) == (3, 3)
    assert bench.ingest.tally.duplicates == 6


def test_replay_of_a_result_does_not_end_a_command_again(bench: Bench, standin: MakeVoice) -> None:
    done = standin().outcome(COMMAND)
    bench.take(done)
    bench.take(done, done)
    assert bench.kinds() == ["command.elsewhere"]


def test_replay_of_a_birth_or_heartbeat_does_not_show_a_dead_gateway_as_alive(bench: Bench, standin: MakeVoice) -> None:
    voice = standin()
    kept = [voice.birth(), voice.heartbeat()]
    bench.take(*kept)
    seen_ms = bench.ingest.standing.known("gw-darcy").seen_ms
    told = bench.take(*kept, kept[0], now_ms=seen_ms + 60_000)
    assert bench.ingest.standing.known("gw-darcy").seen_ms == seen_ms
    assert not [each for each in told if isinstance(each, changes.Born | changes.Beaten)]


def test_cross_topic_copy_is_worth_nothing_on_any_other_topic(bench: Bench, standin: MakeVoice) -> None:
    voice = standin()
    messages = [
        voice.samples({"a/b": 1}),
        voice.event("fault"),
        voice.birth(),
        voice.death(),
        voice.event("trip", stream="safety"),
    ]
    copies = [
        on(str(topic), message)
        for message in messages
        for name in topics.UP
        if str(topic := voice.topic(name)) != message[0]
    ]
    bench.take(*copies)
    assert bench.count(schema.links) == 0
    assert bench.rejections() == {("gw-darcy", "signature"): len(copies)}


def test_cross_gateway_copy_is_worth_nothing_and_nobody_signs_for_a_neighbour(bench: Bench, standin: MakeVoice) -> None:
    voice, neighbour = standin(), standin("gw-monge")
    copied = on(str(neighbour.topic("state")), voice.samples({"a/b": 1}))
    bench.take(copied, _as(neighbour, voice))
    assert bench.count(schema.links) == 0
    assert bench.rejections() == {("gw-monge", "signature"): 1, ("gw-monge", "capability"): 1}


def _as(victim: StandIn, thief: StandIn) -> tuple[str, bytes]:
    """A neighbour's link, well formed for the victim's topic and signed with the thief's own key."""
    topic = victim.topic("state")
    genuine = victim.samples({"a/b": 666})
    return str(topic), thief.agent.seal(envelope.parse(genuine[1]).payload, topic)


def test_rollback_to_an_older_store_is_not_followed_and_is_told(bench: Bench, standin: MakeVoice) -> None:
    old, new = standin(), standin(epoch=5)
    before = old.samples({"a/b": 1})
    bench.take(before, new.samples({"a/b": 2}))
    assert bench.heads(bench.take(before, old.samples({"a/b": 3})))["state"].epoch == 5
    assert bench.kinds() == ["stream.epoch", "clone.suspected"]


def test_freeze_of_the_heartbeats_makes_every_value_stale(bench: Bench, standin: MakeVoice) -> None:
    """Whoever holds messages back cannot say that nothing has changed: only a new beat says so."""
    voice = standin()
    beats = [voice.birth(), *(voice.heartbeat() for _ in range(5))]
    bench.take(*beats)
    told = bench.take(*beats[1:5])
    assert not [each for each in told if isinstance(each, changes.Beaten)]


def test_mix_and_match_of_two_histories_makes_no_third(bench: Bench, standin: MakeVoice) -> None:
    one, other = standin(), standin()
    first = one.samples({"a/b": 1})
    other.samples({"a/b": 2})
    bench.take(first, other.samples({"a/b": 3}))
    assert bench.count(schema.links) == 1
    assert bench.kinds() == ["fork.detected"]
    bench.take(one.samples({"a/b": 4}))
    assert bench.count(schema.links) == 2


def test_cloned_card_is_told_and_neither_history_is_overwritten(bench: Bench, standin: MakeVoice) -> None:
    cabinet, clone = standin(conn=7), standin(conn=3)
    bench.take(cabinet.birth(), cabinet.samples({"a/b": 1}), clone.birth(), clone.samples({"a/b": 666}))
    assert sorted(bench.kinds()) == ["clone.suspected", "fork.detected"]
    assert bench.heads(bench.take(cabinet.samples({"a/b": 2})))["state"] == cabinet.head("state")


def test_endless_data_ends_at_the_size_of_an_envelope(bench: Bench, standin: MakeVoice) -> None:
    voice = standin()
    topic = str(voice.topic("state"))
    largest = envelope.ENVELOPE_BYTES_MAX
    lying = b"\xd2\x84\x5a\xff\xff\xff\xff"
    bench.take((topic, bytes(largest + 1)), (topic, bytes(10 * largest)), (topic, lying), (topic, b"\x9f" * largest))
    assert bench.rejections() == {("gw-darcy", "envelope"): 4}


def test_endless_data_of_a_gateways_own_ends_at_its_bounds(bench: Bench, standin: MakeVoice) -> None:
    """A gateway that invents points fills its own envelopes, not the manager's memory."""
    voice = standin()
    batches = POINTS_PER_GATEWAY_MAX // SAMPLES_PER_BATCH_MAX + 2
    for n in range(batches):
        bench.take(voice.samples({f"e/{n}-{each}": each for each in range(SAMPLES_PER_BATCH_MAX)}))
    assert len(bench.ingest.standing.known("gw-darcy").points) == POINTS_PER_GATEWAY_MAX
    assert bench.count(schema.links) == batches


@pytest.mark.parametrize("dropped", [2, 3, 5])
def test_drop_of_messages_delays_records_and_loses_none(bench: Bench, standin: MakeVoice, dropped: int) -> None:
    voice = standin()
    links = [voice.samples({"a/b": n}) for n in range(30)]
    turns = 0
    while bench.ingest.tally.batches < len(links):
        turns += 1
        assert turns < 60
        bench.take(*(link for n, link in enumerate(links, turns) if n % dropped))
    assert bench.heads(bench.take(voice.birth()))["state"] == voice.head("state")


def test_partial_bundle_is_no_message(bench: Bench, standin: MakeVoice) -> None:
    voice = standin()
    topic, whole = voice.samples({"a/b": 1})
    pieces = [(topic, whole[:size]) for size in range(0, len(whole), 7)]
    bench.take(*pieces, (topic, whole))
    assert bench.count(schema.links) == 1
    assert bench.rejections() == {("gw-darcy", "envelope"): len(pieces)}


@pytest.mark.parametrize("t_ms", [0, 1_000, 2**31 * 1000, 253_402_300_800_000, 2**63 - 1])
def test_wrong_time_of_a_gateway_is_its_own_word_and_moves_nothing_of_ours(
    bench: Bench, standin: MakeVoice, t_ms: int
) -> None:
    voice, neighbour = standin(), standin("gw-monge")
    told = bench.take(voice.birth(t_ms=t_ms), voice.samples({"a/b": 1}, t_ms=t_ms), neighbour.samples({"a/b": 2}))
    assert bench.heads(told)["state"].seq == 1
    assert bench.heads(told, "gw-monge")["state"].seq == 1
    assert bench.ingest.standing.known("gw-darcy").seen_ms < unix_ms() + YEAR_MS


def test_wrong_time_in_an_epoch_leaves_room_for_those_to_come(bench: Bench, standin: MakeVoice) -> None:
    honest, liar = standin(epoch=1_800_000_000), standin(epoch=2**32 - 1)
    bench.take(honest.samples({"a/b": 1}))
    assert bench.heads(bench.take(liar.samples({"a/b": 2})))["state"].epoch == honest.epoch
    assert ("gw-darcy", "epoch") in bench.rejections()


def test_forged_ack_of_a_gateways_own_changes_nothing_at_the_manager(bench: Bench, standin: MakeVoice) -> None:
    """Whatever goes down does not come up: the manager hears no acks."""
    voice = standin()
    down = topics.down(voice.city, voice.id, "ack")
    bench.take((str(down), voice.agent.seal(b"\x90", down)))
    assert bench.rejections() == {("", "topic"): 1}


def test_a_birth_whose_equipment_lies_nowhere_stops_no_neighbour(bench: Bench, standin: MakeVoice) -> None:
    """Found by mutation: SQLite takes no NaN, and the whole commit failed with everybody's records in it."""
    voice, neighbour = standin(), standin("gw-monge")
    nowhere = msgspec.structs.replace(SEGMENT, latitude=float("nan"))
    bench.take(voice.birth([nowhere]), neighbour.samples({"a/b": 1}))
    assert bench.count(schema.links) == 1
    assert bench.rejections() == {("gw-darcy", "message"): 1}


def test_arbitrary_software_has_no_door(bench: Bench, standin: MakeVoice) -> None:
    """Nothing that runs travels here yet: ``roll`` is reserved, and signed nonsense on it is for nobody."""
    voice = standin()
    roll = topics.down(voice.city, voice.id, "roll")
    bench.take((str(roll), bench.trust.director.seal(b"\x91\x01", roll)))
    assert bench.rejections() == {("", "topic"): 1}
