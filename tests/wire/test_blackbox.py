"""Black box files: whatever is done to one is found, and the first bad record is named."""

import io
from collections.abc import Sequence
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.identity import CityId, GatewayId
from agent.wire import envelope
from agent.wire.blackbox import MAGIC, Header, Writer, block
from agent.wire.demotrust import anchors_of, sign_key_list
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, Batch, Event, Value, encode
from agent.wire.streams import NO_HASH
from agent.wire.topics import up
from agent.wire.trust import COMMAND_CAPABILITIES, KeyEntry, KeyList, KeyRing, load_key_list
from agent.wire.verification import Examined, Finding, verify

CITY, GATEWAY, OTHER = CityId("dijon"), GatewayId("gw-darcy"), GatewayId("gw-other")
T0_MS = 1_800_000_000_000
EPOCHS = ((7, 9), (11, 6))
"""Epoch -> how many records; the second follows the first."""


def signer(kid: str) -> Signer:
    return Signer.from_seed(kid, sha256(kid.encode()).digest())


GUARD, AGENT, STRANGER = (signer(kid) for kid in ("gw-darcy/guard/1", "gw-darcy/agent/1", "gw-other/guard/1"))
OFFICERS = [signer("root/1"), signer("root/2")]


def entry(key: Signer, subject: str, role: str, scope: str, capabilities: tuple[str, ...] = ("up",)) -> KeyEntry:
    kid = key.kid.decode()
    return KeyEntry(kid, key.algorithm, key.public_key, subject, role, capabilities, (scope,), 0, 2**62)


@cache
def key_list() -> bytes:
    keys = [
        entry(GUARD, "gw-darcy/guard", "guard", "gw-darcy"),
        entry(AGENT, "gw-darcy", "agent", "gw-darcy"),
        entry(STRANGER, "gw-other/guard", "guard", "gw-other"),
        entry(signer("alice/1"), "alice", "technician", "*", COMMAND_CAPABILITIES),
    ]
    return sign_key_list(KeyList(SCHEMA, CITY, 1, T0_MS, 2**62, keys), OFFICERS)


@cache
def ring() -> KeyRing:
    return load_key_list(key_list(), anchors_of(OFFICERS, CITY, 2))


def link(
    epoch: int,
    seq: int,
    prev: bytes,
    key: Signer = GUARD,
    *,
    events: list[Event] | None = None,
    gateway: GatewayId = GATEWAY,
    stream: str = "safety",
    topic_stream: str = "",
) -> bytes:
    events = events or [Event(0, "trip", "j-1", "SR-02", f"record {seq}", {})]
    batch = Batch(SCHEMA, gateway, stream, epoch, seq, prev, T0_MS + seq, seq, 2, [], [], [], [], [], events)
    return key.seal(encode(batch), up(CITY, gateway, topic_stream or stream))


def epoch_event(from_epoch: Value, from_seq: Value) -> list[Event]:
    return [Event(0, "stream.epoch", "", "", "new", {"from_epoch": from_epoch, "from_seq": from_seq})]


@cache
def chain() -> tuple[tuple[int, int, bytes], ...]:
    """(epoch, seq, envelope) of a stream with two epochs."""
    rows: list[tuple[int, int, bytes]] = []
    for epoch, count in EPOCHS:
        prev = NO_HASH
        for seq in range(1, count + 1):
            events = epoch_event(rows[-1][0], rows[-1][1]) if seq == 1 and rows else None
            rows.append((epoch, seq, link(epoch, seq, prev, events=events)))
            prev = envelope.digest(rows[-1][2])
    return tuple(rows)


def boxed(rows: Sequence[tuple[int, int, bytes]], keys: bytes | None = None) -> bytes:
    """A file that an exporter, or a forger who knows the format, makes of these rows."""
    writer = Writer(Header(SCHEMA, CITY, GATEWAY, "safety", key_list() if keys is None else keys))
    return b"".join((writer.begin(), *(writer.link(*row) for row in rows), writer.end()))


@cache
def whole() -> bytes:
    return boxed(chain())


@cache
def bounds() -> tuple[int, ...]:
    """Where each record begins in ``whole()``, and where the end mark does."""
    at = [len(boxed(())) - len(boxed(())[len(Writer(Header(SCHEMA, CITY, GATEWAY, "safety", key_list())).begin()) :])]
    for _, _, sealed in chain():
        at.append(at[-1] + 4 + len(sealed))
    return tuple(at)


def examine(data: bytes, *, trusted: bool = True) -> Examined:
    return verify(io.BytesIO(data), ring() if trusted else None)


def finding(data: bytes, *, trusted: bool = True) -> Finding:
    found = examine(data, trusted=trusted).finding
    assert found is not None
    return found


def place_of(offset: int) -> tuple[str, int]:
    """What stands at a byte of ``whole()``: the part's name and number."""
    if offset < bounds()[0]:
        return "header", 0
    for number, end in enumerate(bounds()[1:], start=1):
        if offset < end:
            return "record", number
    return "end", len(chain()) + 1


@pytest.mark.parametrize("trusted", [True, False])
def test_an_untouched_file_is_verified_whole(trusted: bool) -> None:
    examined = examine(whole(), trusted=trusted)
    assert examined.finding is None
    assert (examined.records, examined.bytes) == (len(chain()), len(whole()))
    assert examined.kids == {"gw-darcy/guard/1": len(chain())}
    assert [(span.epoch, span.first, span.last) for span in examined.spans.all] == [(7, 1, 9), (11, 1, 6)]
    assert examined.is_own_word is not trusted
    assert (examined.first_ms, examined.last_ms) == (T0_MS + 1, T0_MS + 6)


def test_the_same_records_give_the_same_bytes() -> None:
    assert boxed(chain()) == whole()


def test_a_file_may_begin_in_the_middle_because_what_is_acknowledged_is_let_go() -> None:
    for kept in range(1, len(chain())):
        examined = examine(boxed(chain()[kept:]))
        assert (examined.finding, examined.records) == (None, len(chain()) - kept)


@given(st.integers(0, 8 * 10**6), st.booleans())
def test_every_flipped_bit_is_found_and_the_first_bad_part_named(where: int, trusted: bool) -> None:
    offset, bit = divmod(where % (8 * len(whole())), 8)
    data = bytearray(whole())
    data[offset] ^= 1 << bit
    found = finding(bytes(data), trusted=trusted)
    place, number = place_of(offset)
    # A length that became 0 is an end mark before its time, and the other way round.
    assert found.place == place or (number > 0 and offset < bounds()[number - 1] + 4)
    assert found.number == number
    assert found.offset <= offset or place == "header"


def test_every_bit_of_the_frame_around_the_records_counts() -> None:
    """Exhaustive where no signature protects: lengths and the end mark."""
    lengths = [byte for start in bounds() for byte in range(start, start + 4)]
    for offset in [*range(len(MAGIC)), *lengths, *range(bounds()[-1], len(whole()))]:
        for bit in range(8):
            data = bytearray(whole())
            data[offset] ^= 1 << bit
            assert finding(bytes(data)).number == place_of(offset)[1]


@given(st.data())
def test_a_dropped_swapped_doubled_or_foreign_record_is_found_and_named(data: st.DataObject) -> None:
    """By a forger who writes lengths, counts and checksum anew."""
    rows = list(chain())
    at = data.draw(st.integers(0, len(rows) - 2))
    match data.draw(st.sampled_from(["drop", "swap", "double", "foreign", "move"])):
        case "drop":
            at = max(1, at)  # Without its first records a file is one that begins later.
            del rows[at]
        case "swap":
            rows[at], rows[at + 1] = rows[at + 1], rows[at]
        case "double":
            rows.insert(at, rows[at])
            at += 1
        case "foreign":
            epoch, seq, _ = rows[at]
            prev = envelope.digest(rows[at - 1][2]) if at else NO_HASH
            forger = data.draw(st.sampled_from([AGENT, STRANGER, signer("gw-darcy/guard/1-stolen")]))
            rows[at] = (epoch, seq, link(epoch, seq, prev, forger, events=[Event(0, "x", "", "", "", {})]))
        case _:
            at = max(1, at)
            moved = rows.pop(at)
            rows.append(moved)
    found = finding(boxed(rows))
    if at == 0 and found.number == 2:
        return  # The first record is now another true one; the break shows behind it.
    assert (found.place, found.number) == ("record", at + 1)


def test_a_torn_file_is_found_at_any_byte() -> None:
    for size in range(len(whole())):
        found = finding(whole()[:size])
        assert found.kind == "truncated"
        place, number = place_of(size)
        assert found.number == number, size
        assert found.place == place or size - bounds()[number - 1] < 4  # Another record or the end: nobody knows.


def test_records_that_another_key_of_the_same_guard_never_sealed_are_named_by_why() -> None:
    first = chain()[0]
    prev = envelope.digest(first[2])
    events = [Event(0, "trip", "", "", "", {})]
    cases = {
        "capability": link(7, 2, prev, AGENT, events=events),
        "unknown-key": link(7, 2, prev, signer("nobody/1")),
        "signature": link(7, 2, prev, Signer.from_seed("gw-darcy/guard/1", bytes(32))),
        "message": link(7, 2, prev, stream="alarm", topic_stream="safety"),
        "chain": link(7, 2, bytes(range(32))),
        "gap": link(7, 3, prev),
        "order": link(6, 1, NO_HASH),
        "epoch": link(8, 1, NO_HASH),
        "envelope": b"\x00" * 60,
    }
    for kind, sealed in cases.items():
        found = finding(boxed([first, (7, 2, sealed)]))
        assert (found.kind, found.number, found.epoch, found.seq) == (kind, 2, 7, 2)
        assert found.expected
        assert found.found
    gateway_of_another = link(7, 2, prev, STRANGER, gateway=OTHER)
    assert finding(boxed([first, (7, 2, gateway_of_another)])).kind == "signature"


def test_an_epoch_must_follow_what_stands_before_it() -> None:
    old = chain()[: EPOCHS[0][1]]
    for came in ((7, 8), (7, 10), (6, 9), (None, None), ("7", 9)):
        found = finding(boxed([*old, (8, 1, link(8, 1, NO_HASH, events=epoch_event(*came)))]))
        assert (found.kind, found.number) == ("epoch", 10)
        assert "epoch 7 record 9" in found.expected
    assert examine(boxed([*old, (8, 1, link(8, 1, NO_HASH, events=epoch_event(7, 9)))])).finding is None


def test_a_gap_record_has_no_place_among_safety_records() -> None:
    prev = envelope.digest(chain()[0][2])
    detail: dict[str, Value] = {"first": 2, "last": 5, "count": 4, "reason": "full", "hash": bytes(32).hex()}
    gap = link(7, 5, prev, events=[Event(0, "stream.gap", "", "", "", detail)])
    found = finding(boxed([chain()[0], (7, 5, gap)]))
    assert (found.kind, found.number) == ("gap", 2)
    assert "never shed" in found.expected


def test_a_file_that_lies_about_its_end_is_found() -> None:
    cut = whole()[: bounds()[5]]
    for end in (whole()[bounds()[-1] :], boxed(chain()[:5])[bounds()[5] :] + b"\0", boxed(chain()[:4])[bounds()[4] :]):
        found = finding(cut + end)
        assert found.place == "end"
        assert found.kind in {"end", "trailing"}


@given(st.binary(max_size=400))
def test_garbage_is_no_black_box_and_raises_nothing(data: bytes) -> None:
    found = finding(data)
    assert (found.place, found.number) == ("header", 0)
    assert finding(MAGIC + data).place == "header"
    assert finding(whole()[: bounds()[0]] + data).number == 1


class Endless(io.RawIOBase):
    """A file that never ends; remembers the largest piece that was asked for."""

    def __init__(self, start: bytes, then: bytes) -> None:
        self.start, self.then, self.largest, self.given = start, then, 0, 0

    def read(self, size: int = -1, /) -> bytes:
        self.largest = max(self.largest, size)
        self.given += size
        data, self.start = self.start[:size], self.start[size:]
        fill = self.then * (size // len(self.then) + 1)
        return data + fill[: size - len(data)]


@pytest.mark.parametrize("then", [b"\0", b"\xff", b"\x00\x00\x00\x01", b"\x00\x04\x00\x00"])
def test_endless_data_and_huge_lengths_end_early_in_little_memory(then: bytes) -> None:
    for start in (b"", MAGIC, whole()[: bounds()[0]], whole()[: bounds()[3]], whole()):
        source = Endless(start, then)
        assert verify(source, ring()).finding is not None
        assert source.largest <= 2**20
        assert source.given <= len(start) + 2**21


def test_a_header_with_other_keys_convinces_nobody_who_has_the_city_s() -> None:
    forger = Signer.from_seed("gw-darcy/guard/1", bytes(32))
    keys = [entry(forger, "gw-darcy/guard", "guard", "gw-darcy")]
    forged = sign_key_list(KeyList(SCHEMA, CITY, 2, T0_MS, 2**62, keys), [signer("mine/1"), signer("mine/2")])
    data = boxed([(1, 1, link(1, 1, NO_HASH, forger))], forged)
    alone = examine(data, trusted=False)
    assert (alone.finding, alone.is_own_word) == (None, True)
    assert alone.fingerprints["gw-darcy/guard/1"] != examine(whole(), trusted=False).fingerprints["gw-darcy/guard/1"]
    found = finding(data)
    assert (found.kind, found.number) == ("signature", 1)


@pytest.mark.parametrize("keys", [b"", b"\0" * 50, b"\x81" + block(b"x")])
def test_a_header_without_keys_is_told_when_nobody_brings_others(keys: bytes) -> None:
    data = boxed(chain(), keys)
    assert finding(data, trusted=False).kind == "keys"
    assert examine(data).finding is None


def test_keys_of_another_city_are_told() -> None:
    other = sign_key_list(KeyList(SCHEMA, "lyon", 1, T0_MS, 2**62, []), OFFICERS)
    lyon = load_key_list(other, anchors_of(OFFICERS, "lyon", 2))
    found = verify(io.BytesIO(whole()), lyon).finding
    assert found is not None
    assert (found.kind, found.place) == ("keys", "header")
