"""SR-19 to SR-24 as observed on a simulated PLC, polled badly: a healthy one is never accused, a faulty one is found."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model.equipment import Bollard
from agent.safety.bollard_watch import BollardMemory, commanded, watch_bollard
from agent.safety.observer import Response, Trip
from simulators.bollard import State
from simulators.bollard_plc import BollardPlc
from simulators.bollard_site import Build
from simulators.modbus_frame import Table
from tests.safety.facts import BOLLARD, LOWER, RAISE, SEEN_BOLLARD

START_MS = 70_000  # A clock does not start with the story.
STEP_MS = 20  # of the simulated PLC
DEEDS = (
    "raise",
    "lower",
    "loop_a",
    "loop_b",
    "pressure",
    "loop_fault",
    "mains",
    "local_key",
    "local_raise",
    "efo",
    "hold",
)
BITS = (
    "at_top", "at_bottom", "moving_up", "moving_down", "loop_a", "loop_b", "loop_fault", "pressure_trip", "local_key",
    "mains_ok", "door_open", "fault_latched", "red_on", "green_on", "beacon_on", "efo_active",
)  # fmt: skip


class Street:
    """One PLC with its observer; bits and numbers are read one after the other, as on the wire."""

    def __init__(self, build: Build, bollard: Bollard, auto_raise_s: int = 0) -> None:
        self.plc, self.bollard, self.now_ms = BollardPlc(build), bollard, START_MS
        self.memory, self.said = BollardMemory(), list[Trip]()
        self.beat: tuple[int, int | None] | None = None
        self.plc._holding[2] = self.plc.bollard.auto_raise_s = auto_raise_s
        self.run(0)

    def run(self, ms: int) -> None:
        """Let the PLC work, with its gateway heard."""
        for _ in range(max(1, ms // STEP_MS)):
            self.now_ms += STEP_MS if ms else 0
            self.plc._gateway_s = self.now_ms / 1000
            self.plc.step(self.now_ms / 1000)

    def look(self, between_ms: int, knows_efo: bool = True) -> None:
        """Poll once."""
        at_ms = self.now_ms
        bits = dict(zip(BITS, (bool(self.plc.tables[Table.DISCRETES][n]) for n in range(16)), strict=True))
        self.run(between_ms)
        words = self.plc.tables[Table.INPUTS]
        if self.beat is None or self.beat[0] != words[2]:
            self.beat = (words[2], at_ms if self.beat else None)
        seen = replace(
            SEEN_BOLLARD, at_ms=at_ms, took_ms=self.now_ms - at_ms, state=words[0], position_percent=words[3],
            reversals=words[8], heartbeat_at_ms=self.beat[1], **bits | ({} if knows_efo else {"efo_active": None}),
        )  # fmt: skip
        self.memory, said = watch_bollard(self.memory, seen, self.bollard)
        self.said += said

    def do(self, deed: str) -> None:
        """What people do to it."""
        around = self.plc._stimuli
        match deed:
            case "raise":
                self.memory = commanded(self.memory, RAISE, self.bollard)
                self.plc.bollard.request_raise()
            case "lower":
                self.memory = commanded(self.memory, LOWER, self.bollard)
                self.plc.bollard.request_lower()
            case "hold":
                self.plc.bollard.request_hold_down(not self.plc.bollard.hold_down)
            case "mains":
                self.plc._mains = not self.plc._mains
            case _:
                around[deed] = not around[deed]
        self.run(0)

    def broken(self) -> set[str]:
        """Rules found broken; the emergency alarm is no fault of the PLC."""
        return {trip.rule for trip in self.said if (trip.rule, trip.response) != ("SR-23", Response.ALARM)}


deeds = st.lists(st.tuples(st.sampled_from(("raise", "raise", "lower", *DEEDS)), st.integers(0, 5_000)), max_size=12)
polls = st.lists(
    st.tuples(st.sampled_from((0, 20, 100, 100, 300, 1_000, 2_500, 9_000)), st.sampled_from((0, 0, 20, 100)))
)


@pytest.mark.no_cover
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    deeds=deeds,
    polls=polls.filter(bool),
    build=st.builds(Build, prewarn_s=st.sampled_from((1.0, 3.0)), spring_down=st.booleans(), retries=st.booleans()),
    auto_raise_s=st.sampled_from((0, 0, 15)),
    knows_efo=st.booleans(),
)
def test_sr_19_to_24_a_healthy_bollard_is_never_accused_whatever_people_do_and_however_it_is_polled(
    deeds: list[tuple[str, int]], polls: list[tuple[int, int]], build: Build, auto_raise_s: int, knows_efo: bool
) -> None:
    street = Street(build, replace(BOLLARD, rises_alone=auto_raise_s > 0), auto_raise_s)
    turn = 0
    for deed, lasts_ms in [*deeds, ("lower", 20_000)]:
        street.do(deed)
        until_ms = street.now_ms + lasts_ms
        while street.now_ms <= until_ms:  # Bounded: each turn of the polls that takes no time is followed by a step.
            wait_ms, between_ms = polls[turn % len(polls)]
            turn += 1
            street.look(between_ms, knows_efo)
            street.run(max(wait_ms, STEP_MS))
    assert street.broken() == set(), street.said


FAULTS = [
    ("ignore_loops", ("raise", 1_000, "loop_a", 6_000), "SR-19"),
    ("ignore_loops", ("raise", 4_000, "loop_b", 3_000), "SR-20"),
    ("ignore_loops", ("raise", 4_000, "pressure", 3_000), "SR-20"),
    ("ignore_loops", ("loop_a", 3_000, "efo", 3_000), "SR-23"),
    ("no_warning", ("raise", 3_000), "SR-20"),
    ("red_lamp_out", ("raise", 5_000), "SR-20"),
    ("endless_reversals", ("raise", 4_000, *("loop_a", 1_000, "loop_a", 6_000) * 4), "SR-21"),
    ("bounce", ("raise", 6_500, "loop_a", 100, "loop_a", 4_000), "SR-19"),
    ("no_timeout stuck_drive", ("raise", 21_000), "SR-22"),
    ("stuck_drive", ("lower", 10_000), "SR-22"),
    ("rise_on_power", ("mains", 2_000, "mains", 6_000), "SR-19"),
    ("green_lamp_on", ("raise", 5_000), "SR-24"),
    ("frozen_heartbeat", ("raise", 10_000), "SR-19"),
    ("both_limits", ("lower", 1_000), "SR-19"),
]


@pytest.mark.parametrize(("faults", "story", "rule"), FAULTS, ids=str)
def test_sr_19_to_24_each_fault_of_a_plc_is_found_and_its_rule_named(
    faults: str, story: tuple[str | int, ...], rule: str
) -> None:
    assert play(story).broken() == set()
    assert rule in play(story, faults).broken()


def play(story: tuple[str | int, ...], faults: str = "") -> Street:
    """Deeds and how long each lasts, polled ten times a second."""
    street = Street(Build(), BOLLARD)
    if faults == "stuck_drive":
        street.plc.bollard.position = 100.0
        street.plc.bollard.state = State.UP
    for _ in range(40):
        street.look(0)
        street.run(100)
    for fault in faults.split():
        street.plc.faults.switch(fault)
    for each in story:
        if isinstance(each, str):
            street.do(each)
        else:
            for _ in range(each // 100):
                street.look(0)
                street.run(100)
    return street
