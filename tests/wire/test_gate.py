"""The command gate: authentic, fresh, once. And the grammar behind it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import (
    COMMAND_CLASS,
    Command,
    CommandClass,
    LowerBollard,
    Origin,
    PriorityRequest,
    RaiseBollard,
    ReleaseJunction,
    ReleaseLevel,
    RequestFlash,
    ResetLatch,
    Role,
    SelectPlan,
    SetLevel,
    ShowTemplate,
)
from agent.model.equipment import Kind
from agent.model.identity import EquipmentId, PlanNumber
from agent.model.observation import ClockQuality
from agent.safety.verdict import Refused
from agent.wire.envelope import join_set
from agent.wire.errors import CapabilityError, MessageError, SignatureError, TrustError, WireError
from agent.wire.gate import NONCE_PERIOD_MS, REMEMBERED_MAX, Admitted, CommandGate, Declined, Nonces, Repeated
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, CommandMessage, encode
from agent.wire.topics import down
from agent.wire.trust import load_key_list
from agent.wire.verbs import LEASE_S_MAX, VERBS, class_of, command_of, verbs_of, words_of
from tests.wire.party import CITY, GATEWAY, ROOTS, T0_MS, entries, entry, ring, sealed_list, signer

ALICE, BRUNO, TECH, AGENT = (signer(kid) for kid in ("alice/1", "bruno/1", f"{GATEWAY}/tech/1", f"{GATEWAY}/agent/1"))
TOPIC = down(CITY, GATEWAY, "cmd")  # type: ignore[arg-type]
KNOWN, UNKNOWN = ClockQuality.NETWORK, ClockQuality.UNKNOWN
NOTHING = {}.get


class Entropy:
    """Sixteen bytes that count."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")


class Cabinet:
    """A gate and the clock around it."""

    def __init__(self, **kwargs: Any) -> None:
        self.gate = CommandGate(kwargs.get("ring", ring()), Nonces(Entropy(), 0))
        self.now_ms = 0
        self.clock = KNOWN
        self.counters: dict[str, int] = {}

    def message(self, **fields: Any) -> CommandMessage:
        given = {
            "schema": SCHEMA,
            "command_id": "c1",
            "issuer": "alice/1",
            "gateway": GATEWAY,
            "equipment": "seg-1",
            "verb": "release-level",
            "args": {},
            "nonce": self.gate.nonces.current(self.now_ms),
            "counter": 1,
            "issued_ms": T0_MS,
            "not_after_ms": T0_MS + 30_000,
            "expect_point": None,
            "expect_value": None,
        }
        return CommandMessage(**(given | fields))

    def admit(self, sealed: bytes) -> Admitted | Declined | Repeated:
        return self.gate.admit(sealed, TOPIC, self.counters, self.now_ms, T0_MS + self.now_ms, self.clock)

    def offer(self, *signers: Signer, **fields: Any) -> Admitted | Declined | Repeated:
        fields = {"issuer": (signers or (ALICE,))[0].kid.decode()} | fields
        return self.admit(sealed(self.message(**fields), *signers))


def sealed(message: CommandMessage, *signers: Signer) -> bytes:
    return join_set([each.seal(encode(message), TOPIC) for each in (signers or (ALICE,))])


def declined(result: object, rule: str = "SR-25", ended: str = "refused") -> str:
    assert isinstance(result, Declined)
    assert (result.refused.rule, result.ended) == (rule, ended)
    return result.refused.reason


def test_a_good_command_is_admitted_with_who_signed_it() -> None:
    admitted = Cabinet().offer(ALICE, BRUNO, verb="flash", args={"lease_s": 60}, equipment="j1")
    assert isinstance(admitted, Admitted)
    assert admitted.origin == Origin(Role.OPERATOR, ("alice", "bruno"))
    assert (admitted.kid, admitted.counter) == ("alice/1", 1)
    assert admitted.command(NOTHING) == RequestFlash(EquipmentId("j1"), admitted.origin, 60_000)


def test_sr_25_what_no_known_person_signed_is_an_error_without_an_answer() -> None:
    cabinet = Cabinet()
    forged = Signer.from_seed("alice/1", bytes(32))
    for signers, error in (((AGENT,), CapabilityError), ((forged,), SignatureError), ((signer("eve/1"),), TrustError)):
        with pytest.raises(error):
            cabinet.offer(*signers)
    with pytest.raises(WireError):
        cabinet.admit(b"garbage")
    with pytest.raises(MessageError):
        cabinet.offer(gateway="gw-monge")
    with pytest.raises(MessageError):
        cabinet.admit(join_set([ALICE.seal(b"\x93\x01\x02\x03", TOPIC)]))


def test_sr_25_a_command_is_admitted_once_whoever_repeats_it() -> None:
    cabinet = Cabinet()
    message = cabinet.message(counter=7)
    assert isinstance(cabinet.admit(sealed(message, ALICE, BRUNO)), Admitted)
    cabinet.counters["alice/1"] = 7
    for repeated in (sealed(message, ALICE, BRUNO), sealed(message, BRUNO, ALICE), sealed(message, ALICE)):
        assert isinstance(cabinet.admit(repeated), Repeated)
    restarted = Cabinet()
    restarted.counters["alice/1"] = 7
    assert "not above 7" in declined(restarted.admit(sealed(message, ALICE, BRUNO)))


def test_sr_25_the_order_of_the_envelopes_does_not_decide_who_asked() -> None:
    cabinet = Cabinet()
    message = cabinet.message(counter=7, verb="flash", args={"lease_s": 60}, equipment="j1")
    swapped = cabinet.admit(sealed(message, BRUNO, ALICE))
    assert isinstance(swapped, Admitted)
    assert (swapped.kid, swapped.origin) == ("alice/1", Origin(Role.OPERATOR, ("alice", "bruno")))
    restarted = Cabinet()  # Remembers no command; what it stored of Alice must hold whoever comes first.
    restarted.counters["alice/1"] = 7
    for again in (sealed(message, ALICE, BRUNO), sealed(message, BRUNO, ALICE)):
        assert "not above 7" in declined(restarted.admit(again))


def test_sr_25_the_issuer_named_must_have_signed() -> None:
    cabinet = Cabinet()
    for by in ((BRUNO,), (BRUNO, TECH)):
        with pytest.raises(SignatureError, match="alice/1 is named as the issuer"):
            cabinet.offer(*by, issuer="alice/1")
    with pytest.raises(MessageError):
        cabinet.offer(ALICE, issuer="")


def test_sr_25_the_issuers_counter_must_rise() -> None:
    cabinet = Cabinet()
    cabinet.counters["alice/1"] = 5
    declined(cabinet.offer(counter=5))
    declined(cabinet.offer(counter=4))
    assert isinstance(cabinet.offer(counter=6), Admitted)
    assert isinstance(cabinet.offer(BRUNO, counter=1), Admitted)


def test_sr_25_a_nonce_is_good_for_two_periods() -> None:
    cabinet = Cabinet()
    nonce = cabinet.gate.nonces.current(0)
    for now_ms, counter in ((NONCE_PERIOD_MS, 1), (2 * NONCE_PERIOD_MS - 1, 2)):
        cabinet.now_ms = now_ms
        assert isinstance(cabinet.offer(nonce=nonce, counter=counter, not_after_ms=T0_MS + now_ms), Admitted)
    cabinet.now_ms = 2 * NONCE_PERIOD_MS
    declined(cabinet.offer(nonce=nonce, counter=3), ended="expired")


def test_sr_25_after_a_long_sleep_no_old_nonce_is_good() -> None:
    nonces = Nonces(Entropy(), 0)
    first = nonces.current(0)
    assert not nonces.is_fresh(first, 10 * NONCE_PERIOD_MS)
    assert not nonces.is_fresh(bytes(16), 10 * NONCE_PERIOD_MS)
    assert nonces.is_fresh(nonces.current(10 * NONCE_PERIOD_MS), 10 * NONCE_PERIOD_MS)


def test_sr_25_the_time_limit_counts_while_the_clock_is_known() -> None:
    cabinet = Cabinet()
    assert isinstance(cabinet.offer(not_after_ms=T0_MS), Admitted)
    assert "0.0 s too late" in declined(cabinet.offer(counter=2, not_after_ms=T0_MS - 1), ended="expired")
    cabinet.clock = UNKNOWN
    assert isinstance(cabinet.offer(counter=3, not_after_ms=0), Admitted)


def test_sr_25_a_command_is_good_for_thirty_seconds_at_most() -> None:
    cabinet = Cabinet()
    cabinet.now_ms = 7_000
    refused = declined(cabinet.offer(not_after_ms=T0_MS + 37_001))
    assert refused == "it would be good for another 30.0 s, at most 30 s are allowed"
    assert isinstance(cabinet.offer(not_after_ms=T0_MS + 37_000), Admitted)
    cabinet.clock = UNKNOWN  # Then the nonce alone bounds it, to a minute.
    assert isinstance(cabinet.offer(counter=2, not_after_ms=2**62), Admitted)


@given(ahead_ms=st.integers(-(10**6), 10**6))
def test_sr_25_whatever_is_admitted_ends_within_thirty_seconds(ahead_ms: int) -> None:
    admitted = Cabinet().offer(not_after_ms=T0_MS + ahead_ms)
    assert isinstance(admitted, Admitted) == (0 <= ahead_ms <= 30_000)


def test_sr_25_scope_and_class_are_the_keys_not_the_messages() -> None:
    keys = [
        *entries(),
        entry("carla/1", "operator", ("command:R1", "command:R3"), ("gw-monge",)),
        entry("dora/1", "operator", ("command:R1",)),
    ]
    cabinet = Cabinet(ring=load_key_list(sealed_list(keys), ROOTS))
    assert "may not command gw-darcy" in declined(cabinet.offer(signer("carla/1")))
    assert "class R2" in declined(cabinet.offer(signer("dora/1"), verb="raise", equipment="b1"))
    assert "class R4" in declined(cabinet.offer(ALICE, verb="reset", equipment="j1"))
    assert isinstance(cabinet.offer(TECH, verb="reset", equipment="j1"), Admitted)
    flash = {"verb": "flash", "args": {"lease_s": 60}, "equipment": "j1"}
    assert "dora" in declined(cabinet.offer(ALICE, signer("dora/1"), **flash))


def test_sr_01_an_unknown_verb_is_refused_after_it_was_counted() -> None:
    admitted = Cabinet().offer(verb="set-green", equipment="j1", args={"group": 1})
    assert isinstance(admitted, Admitted)
    refused = admitted.command(NOTHING)
    assert isinstance(refused, Refused)
    assert refused.rule == "SR-01"
    assert "no such verb 'set-green'" in refused.reason


def test_a_precondition_that_does_not_hold_refuses() -> None:
    expecting = {"expect_point": "b1/loop_a", "expect_value": False}
    admitted = Cabinet().offer(**expecting)
    assert isinstance(admitted, Admitted)
    assert isinstance(admitted.command({"b1/loop_a": False}.get), ReleaseLevel)
    for values, word in (({"b1/loop_a": True}, "it is True"), ({}, "not known")):
        refused = admitted.command(values.get)
        assert isinstance(refused, Refused)
        assert refused.rule == "SR-25"
        assert word in refused.reason


def test_a_flood_of_good_commands_is_bounded() -> None:
    cabinet = Cabinet()
    cabinet.gate._admitted.update((n.to_bytes(32, "big"), 0) for n in range(REMEMBERED_MAX))
    assert "within a minute" in declined(cabinet.offer())
    cabinet.now_ms = 2 * NONCE_PERIOD_MS + 1
    assert isinstance(cabinet.offer(not_after_ms=T0_MS + cabinet.now_ms), Admitted)


@given(st.binary(max_size=200))
def test_no_signed_bytes_raise_anything_but_wire_errors(payload: bytes) -> None:
    with pytest.raises(WireError):
        Cabinet().admit(join_set([ALICE.seal(payload, TOPIC)]))


# The grammar.

ORIGIN = Origin(Role.OPERATOR, ("alice",))
J, B, S = EquipmentId("j1"), EquipmentId("b1"), EquipmentId("s1")
COMMANDS: list[Command] = [
    SelectPlan(J, ORIGIN, PlanNumber(3), 600_000),
    RequestFlash(J, ORIGIN, 60_000),
    ReleaseJunction(J, ORIGIN),
    LowerBollard(B, ORIGIN),
    RaiseBollard(B, ORIGIN),
    SetLevel(S, ORIGIN, 0, 1_000),
    ReleaseLevel(S, ORIGIN),
    ResetLatch(J, ORIGIN),
]


def test_every_command_but_those_whose_driver_comes_later_has_one_verb_and_comes_back_from_it() -> None:
    assert {type(command) for command in COMMANDS} == set(COMMAND_CLASS) - {PriorityRequest, ShowTemplate}
    for command in COMMANDS:
        verb, args = words_of(command)
        assert command_of(verb, command.equipment, args, ORIGIN) == command
        assert class_of(verb) == COMMAND_CLASS[type(command)]
    assert len(VERBS) == len(COMMANDS)
    assert class_of("set-green") is None


def test_each_kind_has_its_verbs() -> None:
    assert verbs_of(Kind.JUNCTION) == ("select-plan", "flash", "release", "reset")
    assert verbs_of(Kind.BOLLARD) == ("lower", "raise", "reset")
    assert verbs_of(Kind.SEGMENT) == ("set-level", "release-level")
    assert all(verbs_of(kind) == () for kind in (Kind.LAMP, Kind.METER, Kind.POINTS))


def test_sr_01_no_verb_speaks_of_green() -> None:
    for verb in VERBS.values():
        assert not {"green", "group", "phase", "output", "dark"} & {argument.name for argument in verb.arguments}
    assert {COMMAND_CLASS[verb.command] for verb in VERBS.values()} <= set(CommandClass)


@pytest.mark.parametrize(
    ("verb", "args", "reason"),
    [
        ("select-plan", {"plan": 0, "lease_s": 60}, "plan must be a plan number 1..253, got 0"),
        ("select-plan", {"plan": 254, "lease_s": 60}, "got 254"),
        ("select-plan", {"plan": 255, "lease_s": 60}, "got 255"),
        ("select-plan", {"plan": True, "lease_s": 60}, "got True"),
        ("select-plan", {"plan": 1.0, "lease_s": 60}, "got 1.0"),
        ("select-plan", {"plan": "1", "lease_s": 60}, "got '1'"),
        ("select-plan", {"plan": None, "lease_s": 60}, "got None"),
        ("select-plan", {"plan": 1}, "select-plan needs lease_s: whole seconds"),
        ("select-plan", {"plan": 1, "lease_s": 60, "stage": 2}, "no argument 'stage': it takes plan, lease_s"),
        ("flash", {"lease_s": 0}, "got 0"),
        ("flash", {"lease_s": LEASE_S_MAX + 1}, "1..604800"),
        ("raise", {"now": True}, "no argument 'now': it takes no arguments"),
        ("set-level", {"level_percent": 101, "lease_s": 60}, "whole percent 0..100, got 101"),
        ("set-level", {"level_percent": -1, "lease_s": 60}, "got -1"),
    ],
)
def test_sr_08_wrong_arguments_are_refused_with_what_was_expected(verb: str, args: dict[str, Any], reason: str) -> None:
    refused = command_of(verb, "x", args, ORIGIN)
    assert isinstance(refused, Refused)
    assert refused.rule == "SR-08"
    assert reason in refused.reason


def test_the_bounds_themselves_are_inside() -> None:
    assert isinstance(command_of("select-plan", "j1", {"plan": 253, "lease_s": LEASE_S_MAX}, ORIGIN), SelectPlan)
    assert isinstance(command_of("set-level", "s1", {"level_percent": 100, "lease_s": 1}, ORIGIN), SetLevel)


Scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=900)
Words = st.sampled_from([*VERBS, "set_green", "", "Release"]) | st.text(max_size=40)


@given(Words, st.dictionaries(st.sampled_from(["plan", "lease_s", "level_percent"]) | st.text(max_size=40), Scalars))
def test_no_words_raise_or_make_more_than_the_listed_commands(verb: str, args: dict[str, Any]) -> None:
    command = command_of(verb, "x", args, ORIGIN)
    if isinstance(command, Refused):
        assert command.rule in {"SR-01", "SR-08"}
        assert len(command.reason) <= 500
    else:
        assert type(command) in COMMAND_CLASS
        assert words_of(command) == (verb, args)
