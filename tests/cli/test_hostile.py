"""Whatever a socket answers, the technician reads a sentence: never a traceback, never an effect on the terminal."""

import socket
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.cli.ending import UnreachableError
from agent.cli.link import Link
from agent.wire.local import (
    FRAME_BYTES_MAX,
    EquipmentIs,
    EquipmentView,
    Failed,
    GetStatus,
    LatchView,
    LogEntry,
    LogIs,
    Noted,
    OutcomeIs,
    PointView,
    Reply,
    Request,
    Status,
    WhyIs,
    frame,
)
from agent.wire.messages import ENDED, SCHEMA, Outcome, StreamHead
from tests.cli.canned import Executor, mute, serving, view
from tests.cli.conftest import Said, Type

READS = ("status", "equipment", "show bollard-rameau", "why bollard-rameau", "log")
WRITES = ("bollard lower bollard-rameau", "bollard lower bollard-rameau --dry-run")
SPACES = {chr(code) for code in range(0x3001) if unicodedata.category(chr(code)) == "Zs"}
KNOWN_EXITS = {0, 2, 3, 4, 5, 6}

# Without shrinking: each example types a dozen commands, and its answer is printed as it is.
typing = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Puppet:
    """A process that answers whatever it is told to."""

    def __init__(self) -> None:
        self.replies: list[Reply | bytes] = [b""]
        self._turn = 0

    def say(self, *replies: Reply | bytes) -> None:
        """Answer with these in turn, the last one for ever."""
        self.replies, self._turn = list(replies), 0

    def answer(self, _request: Request) -> Reply | bytes:
        reply = self.replies[min(self._turn, len(self.replies) - 1)]
        self._turn += 1
        return reply


@pytest.fixture
def puppet(state: Path) -> Iterator[Puppet]:
    told = Puppet()
    with serving(state / "agent.sock", told.answer), serving(state / "guard.sock", told.answer):
        yield told


def check(said: Said, *, json: bool = False) -> None:
    assert said.exit in KNOWN_EXITS
    acting = {each for each in said.out + said.err if each != "\n" and unicodedata.category(each)[0] in "CZ"} - SPACES
    assert acting == set()
    assert said.exit == 0 or said.out or said.err
    if json:
        assert isinstance(said.document, dict)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@typing
@given(body=st.binary(max_size=300), is_framed=st.booleans())
def test_any_bytes_for_an_answer_are_a_sentence(type_: Type, puppet: Puppet, body: bytes, is_framed: bool) -> None:
    # Unframed bytes must promise no more than they hold, or the test waits for the timeout as a person would.
    puppet.say(framed(body) if is_framed else body[:3])
    for line in (*READS, *WRITES):
        said = type_(line)
        check(said)
        assert said.exit == 6
        check(type_(line, "--json"), json=True)


@typing
@given(data=st.data())
def test_a_damaged_answer_is_a_sentence(type_: Type, puppet: Puppet, agent: Executor, data: st.DataObject) -> None:
    good = [agent.status(), EquipmentIs(agent.views), WhyIs("up", []), LogIs([]), Failed("no"), Noted()]
    body = bytearray(frame(data.draw(st.sampled_from(good)))[4:])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255))
    puppet.say(framed(bytes(body)))
    for line in (*READS, *WRITES):
        check(type_(line))
        check(type_(line, "--json"), json=True)


TEXT = st.text(max_size=60)
WORD = st.text(min_size=1, max_size=40)
NUMBER = st.integers(0, 2**63 - 1)
VALUE = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT
POINT = st.builds(PointView, WORD, VALUE, st.integers(0, 3), NUMBER, NUMBER)
VIEW = st.builds(
    EquipmentView,
    id=WORD | st.just("bollard-rameau"),
    kind=WORD | st.sampled_from(["junction", "bollard", "lamp"]),
    name=TEXT,
    latitude=st.floats(),
    longitude=st.floats(),
    parent=st.text(max_size=40),
    executor=st.sampled_from(["agent", "guard", "", "root"]),
    verbs=st.lists(WORD, max_size=3),
    mode=WORD,
    mode_cause=TEXT,
    cleared_by=TEXT,
    latch=st.none() | st.builds(LatchView, WORD, TEXT, NUMBER),
    holding=TEXT,
    link=TEXT,
    points=st.lists(POINT, max_size=3),
)
HEAD = st.builds(StreamHead, WORD, st.integers(0, 2**32 - 1), NUMBER, st.binary(min_size=32, max_size=32))
STATUS = st.builds(
    Status,
    process=WORD,
    gateway=WORD,
    city=WORD,
    name=TEXT,
    pid=st.integers(-(2**63), 2**63),
    uptime_ms=NUMBER,
    nonce=st.binary(min_size=16, max_size=16),
    counters=st.dictionaries(WORD | st.just("gw-darcy/tech/1"), st.integers(-(2**63), 2**64 - 1), max_size=2),
    fleet=WORD,
    heads=st.lists(HEAD, max_size=2),
    acked=st.lists(HEAD, max_size=2),
    figures=st.dictionaries(WORD, VALUE, max_size=2),
    warnings=st.lists(TEXT, max_size=2),
)
ENTRY = st.builds(
    LogEntry,
    t_ms=NUMBER,
    stream=WORD,
    seq=st.integers(-(2**63), 2**64 - 1),
    kind=WORD,
    equipment=st.text(max_size=40),
    rule=st.text(max_size=10),
    text=TEXT,
    detail=st.dictionaries(WORD, VALUE, max_size=3),
)
OUTCOME = st.builds(
    Outcome, st.just(SCHEMA), WORD, WORD, WORD, TEXT, TEXT, WORD | st.sampled_from(ENDED), TEXT, TEXT, TEXT, NUMBER
)


@typing
@given(status=STATUS, views=st.lists(VIEW, max_size=3), entries=st.lists(ENTRY, max_size=3), text=TEXT)
def test_whatever_follows_the_grammar_can_be_shown(
    type_: Type, puppet: Puppet, status: Status, views: list[EquipmentView], entries: list[LogEntry], text: str
) -> None:
    found = EquipmentIs([view("bollard-rameau", "bollard", "guard", [])])
    for line, replies in (
        ("status", [status]),
        ("equipment", [EquipmentIs(views)]),
        ("show bollard-rameau", [EquipmentIs([*views, *found.equipment])]),
        ("why bollard-rameau", [found, WhyIs(text, entries)]),
        ("log", [LogIs(entries)]),
    ):
        for option in ((), ("--json",)):
            puppet.say(*replies)
            said = type_(line, *option)
            check(said, json=bool(option))
            assert said.exit == 0


@typing
@given(status=STATUS, outcome=OUTCOME, failed=TEXT)
def test_whatever_is_said_of_a_command_is_told(
    type_: Type, puppet: Puppet, status: Status, outcome: Outcome, failed: str
) -> None:
    found = EquipmentIs([view("bollard-rameau", "bollard", "guard", [])])
    for reply in (OutcomeIs(outcome, b""), Failed(failed)):
        for line in WRITES:
            puppet.say(found, status, reply)
            said = type_(line)
            check(said)
            assert said.exit in {2, 4, 6}  # Nobody knows our command's id, so no outcome is ours.


@pytest.mark.parametrize("reply", [Noted(), LogIs([]), WhyIs("", []), OutcomeIs])
def test_an_answer_to_another_question_is_not_taken(type_: Type, puppet: Puppet, reply: Reply) -> None:
    puppet.say(reply if not isinstance(reply, type) else Noted())
    assert type_("status").exit == 6
    assert "answered another question" in type_("equipment").err


def test_a_frame_beyond_the_limit_is_not_read(state: Path, puppet: Puppet) -> None:
    puppet.say((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    with pytest.raises(UnreachableError, match="a reply of 262145 bytes"):
        Link("agent", state / "agent.sock").ask(GetStatus())


def test_bytes_that_drip_do_not_stretch_the_timeout(state: Path) -> None:
    done = threading.Event()

    def drip(listening: socket.socket) -> None:
        caller, _ = listening.accept()
        with caller:
            caller.sendall((1000).to_bytes(4, "big"))
            for _ in range(1000):
                if done.wait(0.02):
                    return
                caller.sendall(b"\x00")

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(state / "agent.sock"))
        listening.listen()
        dripping = threading.Thread(target=drip, args=(listening,))
        dripping.start()
        started_s = time.monotonic()
        with pytest.raises(UnreachableError, match="did not answer within") as caught:
            Link("agent", state / "agent.sock").ask(GetStatus(), timeout_s=0.2)
        took_s = time.monotonic() - started_s
        done.set()
        dripping.join()
    assert caught.value.sent
    assert took_s < 5.0


def test_a_silent_process_is_given_up_in_time(state: Path) -> None:
    with mute(state / "agent.sock"), pytest.raises(UnreachableError, match="did not answer within") as caught:
        Link("agent", state / "agent.sock").ask(GetStatus(), timeout_s=0.1)
    assert caught.value.sent
