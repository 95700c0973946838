"""One small site everybody can draw on paper, and readings of it in which everything is in order."""

from dataclasses import replace

from agent.model.command import (
    Command,
    LowerBollard,
    Origin,
    RaiseBollard,
    ReleaseJunction,
    ReleaseLevel,
    RequestFlash,
    ResetLatch,
    Role,
    SelectPlan,
    SetLevel,
)
from agent.model.equipment import Bollard, GroupKind, Junction, Lamp, Position, Segment, SignalGroup
from agent.model.identity import CityId, EquipmentId, GatewayId, PlanNumber, SignalGroupNumber
from agent.model.observation import BollardObserved, JunctionObserved, Presence, SegmentObserved
from agent.model.site import Site
from agent.safety.latch import Latch
from agent.safety.mode import Mode, ModeEntry
from agent.safety.standing import Standing

NOW_MS = 1_000_000
UNIX_MS = 1_800_000_000_000
J, B, S, L = EquipmentId("darcy"), EquipmentId("rue-musette"), EquipmentId("depart-1"), EquipmentId("lamp-1")
DIJON = Position(47.322, 5.0415)

G1, G2, G3, G4 = (SignalGroupNumber(number) for number in (1, 2, 3, 4))


def group(number: int, kind: GroupKind, green_s: float, yellow_s: float) -> SignalGroup:
    name = f"{kind} {number}"
    return SignalGroup(SignalGroupNumber(number), name, kind, round(green_s * 1000), round(yellow_s * 1000))


def pairs(*numbers: tuple[int, int]) -> frozenset[frozenset[SignalGroupNumber]]:
    return frozenset(frozenset(SignalGroupNumber(number) for number in pair) for pair in numbers)


# Two streets that cross (1, 2), a crossing over the first (3, conflicts with 1), a bus lane beside it (4, with 2 and 3).
JUNCTION = Junction(
    id=J,
    name="Place Darcy",
    position=DIJON,
    groups=(
        group(1, GroupKind.VEHICLE, 6, 3),
        group(2, GroupKind.VEHICLE, 6, 3),
        group(3, GroupKind.PEDESTRIAN, 8, 0),
        group(4, GroupKind.BUS, 6, 5),
    ),
    conflicts=pairs((1, 2), (1, 3), (2, 4), (3, 4)),
    intergreen_ms={
        (G1, G2): 5_000,
        (G2, G1): 6_000,
        (G1, G3): 5_000,
        (G3, G1): 9_000,
        (G2, G4): 5_000,
        (G4, G2): 7_000,
        (G3, G4): 9_000,
        (G4, G3): 7_000,
    },
    plans=frozenset(PlanNumber(plan) for plan in (1, 2, 7)),
    backup_time_s=60,
)
BOLLARD = Bollard(id=B, name="Rue Musette", position=DIJON, loops_free_ms_min=4_000)
SEGMENT = Segment(
    id=S,
    name="Départ 1",
    position=DIJON,
    lighting_class="M4",
    level_floor_percent=30,
    night_level_percent=70,
    lease_ms_max=12 * 3_600_000,
)
LAMP = Lamp(id=L, name="Lamp 1", position=DIJON, segment=S, power_w=40)
SITE = Site(
    city=CityId("dijon"),
    gateway=GatewayId("gw-darcy"),
    name="Place Darcy",
    equipment={J: JUNCTION, B: BOLLARD, S: SEGMENT, L: LAMP},
    fleet_silence_ms=120_000,
)

SEEN_JUNCTION = JunctionObserved(
    equipment=J,
    at_ms=NOW_MS,
    greens=0b0001,
    yellows=0,
    reds=0b1110,
    control_status=2,
    flash_status=2,
    pattern=1,
    backup_time_s=60,
)
SEEN_BOLLARD = BollardObserved(
    equipment=B,
    at_ms=NOW_MS,
    state=0,
    at_top=False,
    at_bottom=True,
    moving_up=False,
    moving_down=False,
    loop_a=False,
    loop_b=False,
    loop_fault=False,
    pressure_trip=False,
    local_key=False,
    mains_ok=True,
    door_open=False,
    fault_latched=False,
    red_on=False,
    green_on=True,
    reversals=0,
    position_percent=0,
    loops_free_since_ms=NOW_MS - 60_000,
    heartbeat_at_ms=NOW_MS - 500,
)
SEEN_SEGMENT = SegmentObserved(
    equipment=S,
    at_ms=NOW_MS,
    commanded_on=True,
    contactor_on=True,
    level_percent=70,
    dark=True,
    local_override=False,
    breaker_tripped=False,
)
SEEN = {J: SEEN_JUNCTION, B: SEEN_BOLLARD, S: SEEN_SEGMENT}

ALICE = Origin(Role.OPERATOR, ("alice",))
ALICE_AND_BRUNO = Origin(Role.OPERATOR, ("alice", "bruno"))
TECHNICIAN = Origin(Role.TECHNICIAN, ("claude",))

PLAN = SelectPlan(J, ALICE, PlanNumber(2), 600_000)
FLASH = RequestFlash(J, ALICE_AND_BRUNO, 600_000)
RELEASE = ReleaseJunction(J, ALICE)
LOWER = LowerBollard(B, ALICE)
RAISE = RaiseBollard(B, ALICE)
LEVEL = SetLevel(S, ALICE, 50, 600_000)
RELEASE_LEVEL = ReleaseLevel(S, ALICE)
RESET = ResetLatch(J, TECHNICIAN)
RESET_BOLLARD = ResetLatch(B, TECHNICIAN)
COMMANDS: tuple[Command, ...] = (PLAN, FLASH, RELEASE, LOWER, RAISE, LEVEL, RELEASE_LEVEL, RESET, RESET_BOLLARD)

AT_THE_CABINET = Presence(NOW_MS, door_open=True, local_key=True)
ON_SITE = Standing(presence=AT_THE_CABINET)
LATCH = Latch(J, "SR-02", "groups 1 and 2 at once", UNIX_MS, flash_requested=False)
LATCHED = Standing(ModeEntry(Mode.HELD, "SR-02: groups 1 and 2 at once", "a reset"), LATCH)
HELD = Standing(ModeEntry(Mode.HELD, "commissioning", "the commissioning key"))
AUTONOMOUS = Standing(ModeEntry(Mode.AUTONOMOUS, "the fleet is silent", "its next word"))
TAGGED_OUT = Standing(ModeEntry(Mode.LOCAL, "tagged out", "the tag's owner"))


def by(origin: Origin, command: Command) -> Command:
    """The same command, asked by somebody else."""
    return replace(command, origin=origin)


def standing_for(command: Command) -> Standing:
    """A standing in which the command is approved."""
    return replace(LATCHED, presence=AT_THE_CABINET) if isinstance(command, ResetLatch) else Standing()
