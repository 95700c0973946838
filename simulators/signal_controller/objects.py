"""The controller's objects: what each OID reads, and what a SET of it does. No SNMP here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from simulators.signal_controller import oids
from simulators.signal_controller.aspects import PEDESTRIAN_PHASES, bit
from simulators.signal_controller.controller import SignalController
from simulators.signal_controller.oids import Oid
from simulators.signal_controller.unit import PhaseControl, RingControl

MODEL = "Armoire simulated controller"
CHANNELS = 16
PHASE_COLUMNS = (
    "reds",
    "yellows",
    "greens",
    "dont_walks",
    "ped_clears",
    "walks",
    "vehicle_calls",
    "pedestrian_calls",
    "phases_on",
    "phases_next",
)  # columns 2..11 of phaseStatusGroupTable


@dataclass(frozen=True, slots=True)
class Node:
    """One object instance. ``put`` is None for read-only ones; the value is then within ``low..high``."""

    get: Callable[[], int | bytes]
    put: Callable[[int], None] | None = None
    low: int = 0
    high: int = 255
    is_counter: bool = False


Entries = Iterator[tuple[Oid, Node]]
Read = Callable[[], int]


def _fixed(value: int) -> Read:
    return lambda: value


def _member(picture: Callable[[], object], name: str) -> Read:
    """Read one mask of what is shown at that moment."""
    return lambda: int(getattr(picture(), name))


def _entry(owner: object, table: str, key: int) -> Read:
    """Read one entry of a table that its owner may replace."""
    return lambda: int(getattr(owner, table)[key])


class ObjectTable:
    """Every object of one controller, by OID."""

    def __init__(self, controller: SignalController, epoch_s: Callable[[], float]) -> None:
        self._controller = controller
        self._epoch_s = epoch_s
        self.nodes: dict[Oid, Node] = {}
        for entries in (
            self._phases(),
            self._detectors(),
            self._unit(),
            self._coordination(),
            self._preempts_and_rings(),
            self._channels(),
            self._globals(),
        ):
            self.nodes.update(entries)

    def commit(self, oid: Oid, value: int) -> None:
        """Carry out a SET that was checked, and remember it."""
        put = self.nodes[oid].put
        assert put is not None
        put(value)
        self._controller.control.record(oids.dotted(oid), value)

    def _control(self, act: Callable[[int], None]) -> Callable[[int], None]:
        """A SET of a system control object also restarts the backup timer."""

        def put(value: int) -> None:
            act(value)
            self._controller.control.touch()

        return put

    def _phases(self) -> Entries:
        controller = self._controller
        yield oids.MAX_PHASES, Node(lambda: 8)
        yield oids.MAX_PHASE_GROUPS, Node(lambda: 1)
        for phase in controller.program.phases:
            yield from self._phase_row(phase.number)
        yield (*oids.PHASE_STATUS, 1, 1), Node(lambda: 1)
        for index, name in enumerate(PHASE_COLUMNS, start=2):
            yield (*oids.PHASE_STATUS, index, 1), Node(_member(controller.picture, name))
        yield (*oids.PHASE_CONTROL, 1, 1), Node(lambda: 1)
        for column in PhaseControl:
            put = self._keyed(controller.control, "phase_control", column)
            yield (*oids.PHASE_CONTROL, int(column), 1), Node(_entry(controller.control, "phase_control", column), put)

    def _phase_row(self, number: int) -> Entries:
        controller = self._controller

        def seconds(name: str, scale: int) -> Callable[[], int]:
            return lambda: round(getattr(controller.program.phase(number), name) * scale)

        def change(name: str, scale: int) -> Callable[[int], None]:
            return lambda value: controller.change_phase(number, name, value / scale)

        yield (*oids.PHASE_TABLE, 1, number), Node(lambda: number)
        for column, name, scale in (
            (2, "walk_s", 1),
            (3, "ped_clear_s", 1),
            (4, "min_green_s", 1),
            (5, "passage_s", 10),
            (6, "max_green_s", 1),
            (7, "max_green_s", 1),
            (8, "yellow_s", 10),
            (9, "red_clear_s", 10),
        ):
            yield (*oids.PHASE_TABLE, column, number), Node(seconds(name, scale), change(name, scale))
        phase = controller.program.phase(number)
        start_up = 4 if number in controller.program.start_phases else 6
        yield (*oids.PHASE_TABLE, 10, number), Node(lambda: 20)
        yield (*oids.PHASE_TABLE, 20, number), Node(lambda: start_up)
        yield (*oids.PHASE_TABLE, 21, number), Node(lambda: 1)
        yield (*oids.PHASE_TABLE, 22, number), Node(lambda: phase.ring + 1)
        together = bytes(
            other.number
            for other in controller.program.phases
            if other.ring != phase.ring and other.barrier == phase.barrier
        )
        yield (*oids.PHASE_TABLE, 23, number), Node(lambda: together)

    def _detectors(self) -> Entries:
        controller = self._controller
        yield oids.MAX_DETECTOR_GROUPS, Node(lambda: 2)
        for group in (1, 2):
            vehicles = _entry(controller, "vehicle_detectors", group)
            set_vehicles = partial(controller.vehicle_detectors.__setitem__, group)
            set_peds = partial(controller.ped_detectors.__setitem__, group)
            yield (*oids.VEHICLE_DETECTOR_CONTROL, group), Node(vehicles, set_vehicles)
            yield (*oids.PED_DETECTOR_CONTROL, group), Node(_entry(controller, "ped_detectors", group), set_peds)
            yield (*oids.DETECTOR_ACTIVE, group), Node(vehicles)

    def _unit(self) -> Entries:
        controller, control = self._controller, self._controller.control

        def set_backup(value: int) -> None:
            control.backup_s = value
            control.touch()

        def set_unit_control(value: int) -> None:
            control.unit_control = value

        yield (*oids.UNIT, 1, 0), Node(lambda: round(controller.program.start_up_flash_s))
        yield oids.UNIT_BACKUP_TIME, Node(lambda: control.backup_s, set_backup, high=65_535)
        status = oids.UNIT_CONTROL_STATUS
        yield status, Node(lambda: int(control.status(controller.switched("local_key"))))
        yield oids.UNIT_FLASH_STATUS, Node(lambda: int(controller.flash_status()))
        yield oids.UNIT_ALARM_2, Node(controller.alarm_2)
        yield oids.UNIT_ALARM_1, Node(controller.alarm_1)
        yield oids.SHORT_ALARM, Node(controller.short_alarm)
        # Bits 0 and 1 are reserved: a value that has them is refused by the agent as bad.
        yield oids.UNIT_CONTROL, Node(lambda: control.unit_control, self._control(set_unit_control))
        for number in range(1, 9):
            put = self._keyed(control, "special_function", number)
            read = _entry(control, "special_function", number)
            yield (*oids.SPECIAL_FUNCTION, 3, number), Node(read, put, high=1)
            yield (*oids.SPECIAL_FUNCTION, 4, number), Node(read)

    def _keyed(self, owner: object, group: str, key: int) -> Callable[[int], None]:
        def put(value: int) -> None:
            getattr(owner, group)[key] = value

        return self._control(put)

    def _coordination(self) -> Entries:
        controller, control = self._controller, self._controller.control

        def set_pattern(value: int) -> None:
            control.pattern = value

        def set_sync(value: int) -> None:
            control.sync = value

        yield (*oids.COORD, 1, 0), Node(lambda: 0)
        for plan in controller.program.plans:
            for column, value in ((1, plan.number), (2, plan.cycle_s), (3, plan.offset_s), (4, plan.number), (5, 1)):
                yield (*oids.COORD, 7, 1, column, plan.number), Node(_fixed(value))
            for phase, seconds in plan.splits_s.items():
                yield (*oids.COORD, 9, 1, 3, plan.number, phase), Node(_fixed(seconds))
        yield oids.COORD_PATTERN_STATUS, Node(controller.pattern_status)
        yield oids.LOCAL_FREE_STATUS, Node(lambda: int(controller.free_status()))
        yield (*oids.COORD, 12, 0), Node(controller.cycle_second)
        yield (*oids.COORD, 13, 0), Node(controller.cycle_second)
        yield oids.SYSTEM_PATTERN_CONTROL, Node(lambda: control.pattern, self._control(set_pattern))
        yield oids.SYSTEM_SYNC_CONTROL, Node(lambda: control.sync, self._control(set_sync))
        yield oids.TIMEBASE_ACTION_STATUS, Node(lambda: 0)

    def _preempts_and_rings(self) -> Entries:
        controller, control = self._controller, self._controller.control
        yield oids.MAX_PREEMPTS, Node(lambda: 4)
        for number in range(1, 5):
            yield (*oids.PREEMPT_STATE, number), Node(partial(controller.preempt_state, number))
            put = self._keyed(control, "preempt", number)
            yield (*oids.PREEMPT_CONTROL, number), Node(_entry(control, "preempt", number), put, high=1)
        for column in RingControl:
            put = self._keyed(control, "ring_control", column)
            yield (*oids.RING_CONTROL, int(column), 1), Node(_entry(control, "ring_control", column), put)

    def _channels(self) -> Entries:
        controller = self._controller
        yield oids.MAX_CHANNELS, Node(lambda: CHANNELS)
        yield oids.MAX_CHANNEL_GROUPS, Node(lambda: CHANNELS // 8)
        for channel in range(1, 13):
            pedestrian = channel > 8
            source = PEDESTRIAN_PHASES[channel - 9] if pedestrian else channel
            present = bool(controller.program.channels & bit(channel))
            yield (*oids.CHANNEL_TABLE, 1, channel), Node(_fixed(channel))
            yield (*oids.CHANNEL_TABLE, 2, channel), Node(_fixed(source if present else 0))
            yield (*oids.CHANNEL_TABLE, 3, channel), Node(_fixed(3 if pedestrian else 2))
            yield (*oids.CHANNEL_TABLE, 4, channel), Node(_fixed(0 if pedestrian else 2))
        for group in (1, 2):
            yield (*oids.CHANNEL_STATUS, 1, group), Node(_fixed(group))
            for column, colour in ((2, "reds"), (3, "yellows"), (4, "greens")):
                lit = partial(self._lit, colour, 8 * (group - 1))
                yield (*oids.CHANNEL_STATUS, column, group), Node(lit)
        yield (*oids.OVERLAP_STATUS, 1, 1), Node(lambda: 1)
        for column, name in ((2, "overlap_reds"), (3, "overlap_yellows"), (4, "overlap_greens")):
            yield (*oids.OVERLAP_STATUS, column, 1), Node(_member(controller.picture, name))

    def _lit(self, colour: str, shift: int) -> int:
        return int(getattr(self._controller.lamps(), colour)) >> shift & 0xFF

    def _globals(self) -> Entries:
        controller = self._controller
        yield oids.SYS_DESCR, Node(MODEL.encode)
        yield oids.GLOBAL_SET_ID, Node(lambda: controller.configuration_id)
        yield oids.GLOBAL_MODULE_MODEL, Node(MODEL.encode)
        yield oids.GLOBAL_TIME, Node(lambda: int(self._epoch_s()) & 0xFFFFFFFF, is_counter=True)
