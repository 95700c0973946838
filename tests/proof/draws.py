"""Cases drawn near every limit: mostly in order, so that many are approved, and each thing wrong now and then.

Sites, readings, standings and commands are drawn apart and combined, so that a few thousand of each give millions of
different cases at the price of an index.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from random import Random
from typing import Any, TypeVar

from agent.model.command import (
    LOCAL_PLAN,
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
from agent.model.equipment import Display
from agent.model.identity import EquipmentId, PlanNumber
from agent.model.observation import (
    BollardObserved,
    DisplayObserved,
    JunctionObserved,
    Observed,
    Presence,
    SegmentObserved,
)
from agent.model.site import Site
from agent.safety.mode import Mode, ModeEntry
from agent.safety.standing import Spending, Standing
from tests.safety.facts import (
    BOLLARD,
    DIJON,
    JUNCTION,
    LAMP,
    LATCH,
    SEEN_BOLLARD,
    SEEN_JUNCTION,
    SEEN_SEGMENT,
    SEGMENT,
    SITE,
    B,
    J,
    L,
    S,
)

T = TypeVar("T")
D = EquipmentId("panel-1")
DISPLAY = Display(D, "Panneau 1", DIJON, {1: 0x1234, 2: 0xBEEF})
USUAL = 0.93
"""How often a thing is in order; some twenty must be, at once, for a bollard to rise."""
POOL = 2_000
NOWS_MS = (0, 1, 600_000, 1_000_000, 10**12, 2**53)
"""Kernels have no calendar: an answer must not depend on how long the machine has run."""


class Odd(str):  # noqa: SLOT000 - a caller's own kind of text
    """Text that is not quite text."""


class OddNumber(IntEnum):
    """A number that is not quite a number."""

    TWO = 2


@dataclass(frozen=True, slots=True)
class Pools:
    """What one chunk of a campaign combines. Times are relative to ``now_ms``."""

    now_ms: int
    site: Site
    commands: list[Any]
    readings: dict[EquipmentId, list[Observed | None]]
    standings: list[Standing]


def pools(random: Random, size: int = POOL) -> Pools:
    """Draw a site and many commands, readings and standings for it."""
    now_ms = random.choice(NOWS_MS)
    site = a_site(random)
    return Pools(
        now_ms,
        site,
        [a_command(random, site) for _ in range(size)],
        {
            J: _many(size, lambda: a_junction_reading(random, now_ms, site)),
            B: _many(size, lambda: a_bollard_reading(random, now_ms, site)),
            S: _many(size, lambda: a_segment_reading(random, now_ms)),
            D: _many(size, lambda: a_display_reading(random, now_ms)),
        },
        _many(size, lambda: a_standing(random, now_ms)),
    )


def _many(size: int, draw: Callable[[], T]) -> list[T]:
    return [draw() for _ in range(size)]


def mostly(random: Random, usual: T, *others: T) -> T:
    return usual if random.random() < USUAL else random.choice(others)


def near(random: Random, *limits: int) -> int:
    """A limit, or one beside it."""
    return random.choice(limits) + random.choice((-1, 0, 1))


def a_site(random: Random) -> Site:
    """Facts as commissioned, and facts nobody should have commissioned: the kernel's own floors hold all the same."""
    junction = replace(
        JUNCTION,
        plans=random.choice((JUNCTION.plans, frozenset(), frozenset(map(PlanNumber, (0, 1, 253, 254, 255, -1))))),
        backup_time_s=mostly(random, 60, 9, 10, 120, 121),
        configuration_id=random.choice((None, None, 0, 7)),
        priority_level_max=random.choice((0, 1, 5)),
    )
    bollard = replace(BOLLARD, loops_free_ms_min=random.choice((0, 1_999, 2_000, 2_001, 4_000)))
    segment = replace(
        SEGMENT,
        level_floor_percent=random.choice((1, 30, 100)),
        lease_ms_max=random.choice((1, 36_000, SEGMENT.lease_ms_max)),
    )
    return replace(SITE, equipment={J: junction, B: bollard, S: segment, L: LAMP, D: DISPLAY})


def an_origin(random: Random) -> Origin:
    if random.random() < 0.08:
        return LOCAL_PLAN
    role = random.choice((Role.OPERATOR, Role.OPERATOR, Role.TECHNICIAN))
    odd = random.choice((("alice",), ("alice", "alice"), ("", "alice"), (), ("",), ("alice", "bruno", "carla")))
    return Origin(mostly(random, role, *Role), ("alice", "bruno") if random.random() < 0.8 else odd)


def a_command(random: Random, site: Site) -> Any:
    """Any command to any equipment, now and then a malformed one."""
    origin = an_origin(random)

    def where(usual: EquipmentId) -> EquipmentId:
        return mostly(random, usual, J, B, S, L, D, EquipmentId("elsewhere"), EquipmentId(""))

    segment: Any = site.equipment[S]
    plan = PlanNumber(mostly(random, random.choice((1, 2, 7)), 0, 3, 252, 253, 254, 255, 256, -1, 2**70))
    lease_ms = mostly(random, 60_000, near(random, 0, 3_600_000), 1, 2**70)
    level = mostly(random, 50, near(random, 0, segment.level_floor_percent, 100), 2**70)
    own_ms = mostly(random, segment.lease_ms_max, near(random, 0, segment.lease_ms_max), 2**70)
    command = random.choice(
        (
            SelectPlan(where(J), origin, plan, lease_ms),
            RequestFlash(where(J), origin, lease_ms),
            ReleaseJunction(where(J), origin),
            LowerBollard(where(B), origin),
            RaiseBollard(where(B), origin),
            SetLevel(where(S), origin, level, own_ms),
            ReleaseLevel(where(S), origin),
            ResetLatch(where(random.choice((J, B))), origin),
            a_priority_request(random, where(J), origin),
            a_show(random, where(D), origin),
        )
    )
    return spoilt(random, command) if random.random() < 0.03 else command


def a_priority_request(random: Random, where: EquipmentId, origin: Origin) -> PriorityRequest:
    junction_level = mostly(random, 1, 0, 5, 6, -1)
    return PriorityRequest(
        where,
        origin,
        mostly(random, random.randrange(1, 5), 0, -1),
        junction_level,
        mostly(random, 60_000, 0, 1, 60_001),
    )


def a_show(random: Random, where: EquipmentId, origin: Origin) -> ShowTemplate:
    template = mostly(random, random.choice((1, 2)), 0, 3)
    crc = mostly(random, DISPLAY.templates.get(template, 0), 0x1235, -1)
    return ShowTemplate(where, origin, template, crc, mostly(random, 60_000, near(random, 0, 86_400_000)))


def spoilt(random: Random, command: Any) -> Any:
    """What a caller who keeps no types could hand over."""
    origin = command.origin
    wrong: list[Any] = [
        None,
        "release",
        object(),
        replace(command, equipment=Odd(command.equipment)),
        replace(command, equipment=None),
        replace(command, origin=None),
        replace(command, origin=replace(origin, role="technician")),
        replace(command, origin=replace(origin, subjects=["alice", "bruno"])),
        replace(command, origin=replace(origin, subjects=("alice", 7))),
        type("SetGreen", (), {"equipment": J, "origin": origin})(),
    ]
    for name in ("plan", "lease_ms", "level_percent", "vehicle", "level", "presence_ms", "template", "crc"):
        if hasattr(command, name):
            wrong += [replace(command, **{name: value}) for value in (True, 2.0, "2", None, OddNumber.TWO, 1e400)]
    return random.choice(wrong)


def an_age_ms(random: Random) -> int:
    return mostly(random, random.randrange(1_000), near(random, 0, 1_000, 3_000), 10**9)


def a_junction_reading(random: Random, now_ms: int, site: Site) -> JunctionObserved | SegmentObserved | None:
    if random.random() < 0.04:
        return random.choice((None, replace(SEEN_SEGMENT, at_ms=now_ms)))
    junction: Any = site.equipment[J]
    return replace(
        SEEN_JUNCTION,
        equipment=mostly(random, J, B),
        at_ms=now_ms - an_age_ms(random),
        greens=mostly(random, 0b0001, 0b0011, 0b1001, 0b0110, 0b1111, 2**4, 2**63, 0),
        yellows=mostly(random, 0, 0b0010, 0b1000, 0b1111, 2**63),
        flash_status=mostly(random, 2, 0, 1, 3, 4, 5, 6, 7, 8, 99, -1),
        pattern=mostly(random, 1, 0, 253, 254, 255, 256),
        backup_time_s=mostly(random, junction.backup_time_s, None, 0, near(random, 10, 60, 120), 65_535),
        configuration_id=mostly(random, junction.configuration_id, None, 0, 7, 8),
    )


def a_bollard_reading(random: Random, now_ms: int, site: Site) -> BollardObserved | JunctionObserved | None:
    if random.random() < 0.04:
        return random.choice((None, replace(SEEN_JUNCTION, at_ms=now_ms)))
    bollard: Any = site.equipment[B]
    at_ms = now_ms - an_age_ms(random)
    free_ms = mostly(random, 60_000, near(random, 0, 2_000, bollard.loops_free_ms_min))
    seen = replace(
        SEEN_BOLLARD,
        equipment=mostly(random, B, S),
        at_ms=at_ms,
        state=mostly(random, 0, *range(1, 12), 42, -1),
        reversals=mostly(random, 0, 1, 2, 3, 4, 65_535),
        loops_free_since_ms=mostly(random, at_ms - free_ms, None),
        efo_active=mostly(random, random.choice((None, False)), True),
        heartbeat_at_ms=mostly(random, now_ms - random.randrange(3_000), now_ms - near(random, 0, 3_000), None),
    )
    if random.random() < 0.5:
        return seen
    bits = ("at_top", "at_bottom", "moving_up", "moving_down", "loop_a", "loop_b", "loop_fault", "pressure_trip",
            "local_key", "mains_ok", "door_open", "fault_latched", "red_on", "green_on")  # fmt: skip
    return replace(seen, **{bit: not getattr(seen, bit) for bit in random.choices(bits, k=random.choice((1, 1, 2, 3)))})


def a_segment_reading(random: Random, now_ms: int) -> SegmentObserved | BollardObserved | None:
    if random.random() < 0.04:
        return random.choice((None, replace(SEEN_BOLLARD, at_ms=now_ms)))
    return replace(
        SEEN_SEGMENT,
        equipment=mostly(random, S, J),
        at_ms=now_ms - an_age_ms(random),
        dark=random.choice((True, False, None)),
        local_override=mostly(random, False, True),
        breaker_tripped=mostly(random, False, True),
    )


def a_display_reading(random: Random, now_ms: int) -> DisplayObserved | None:
    crcs: dict[int, int] = mostly(random, dict(DISPLAY.templates), {}, {1: 0xBEEF, 2: 0x1234})
    return DisplayObserved(
        mostly(random, D, S),
        now_ms - an_age_ms(random),
        is_local=mostly(random, False, True),
        crcs=crcs,
        loss_minutes=mostly(random, 5, None, 0, 1, 2),
        loss_message=mostly(random, True, False),
    )


def spent(random: Random, now_ms: int) -> tuple[Spending, ...]:
    """What was commanded of late: next to nothing, or about as much as a budget allows."""
    if random.random() < USUAL:
        return ()
    where, command_class, most = random.choice(
        (
            (J, CommandClass.R1_BOUNDED, 60), (L, CommandClass.R1_BOUNDED, 240), (S, CommandClass.R1_BOUNDED, 60),
            (B, CommandClass.R2_SITUATIONAL, 20), (L, CommandClass.R2_SITUATIONAL, 60),
            (J, CommandClass.R3_DEGRADING, 3), (L, CommandClass.R3_DEGRADING, 3), (J, CommandClass.R1_BOUNDED, 3),
        )
    )  # fmt: skip
    age_ms, vehicle = near(random, 120_000, 600_000), random.choice((0, 1, 2))
    return (Spending(command_class, where, now_ms - age_ms, vehicle),) * near(random, most)


def a_standing(random: Random, now_ms: int) -> Standing:
    presence = Presence(
        now_ms - mostly(random, 10, near(random, 0, 3_000), 10**9),
        door_open=mostly(random, True, False),
        local_key=mostly(random, True, False),
    )
    return Standing(
        mode=ModeEntry(mostly(random, Mode.SUPERVISED, *Mode), "cause", "cure", random.choice(("SR-13", "SR-30"))),
        latch=mostly(random, None, LATCH),
        presence=random.choice((presence, presence, None)),
        flash_requested_at_ms=random.choice((None, now_ms - near(random, 0, 600_000), now_ms - 10**9)),
        fault_seen_at_ms=mostly(random, None, now_ms - near(random, 0, 10_000), now_ms - 10**9),
        spent=spent(random, now_ms),
        default_secret=mostly(random, "", "write community"),
        local=mostly(random, None, ModeEntry(Mode.LOCAL, "tag-out", "the tag's owner")),
    )
