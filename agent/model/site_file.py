"""The site file: TOML in, the cabinet's commissioned facts out, or everything that is wrong with it.

Nothing is corrected, guessed or ignored: a file with one unknown key is refused, because the key somebody mistyped may
be a floor. Rules for the numbers: docs/safety.md.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from agent.model.equipment import Bollard, Equipment, Junction, Lamp, Meter, Photocell, Points, Position, Segment
from agent.model.identity import CityId, EquipmentId, GatewayId
from agent.model.junction_table import read_junction_keys
from agent.model.link_table import address_of, read_modbus, read_modbus_keys, read_snmp
from agent.model.site import Cabinet, Link, ModbusLink, PresenceInputs, Realtime, Site
from agent.model.toml_table import Problems, Table, shown

POINT_NAME = r"[a-z0-9_]{1,60}"
LIGHTING_CLASS = r"[A-Z]{1,2}[0-9]"
BROKER = r"mqtts?://(?P<address>[^/@\s]+)"
BROKERS_MAX = 4
FLEET_SILENCE_MS = 120_000  # SR-11
OBSERVE_MS_MAX = 200  # two samples must fit into the 200 ms in which one confirms the other (SR-02)
REALTIME_PRIORITY, REALTIME_PRIORITY_MAX = 10, 49  # of SCHED_FIFO; Linux runs threaded interrupts at 50
LOOPS_FREE_S = (2, 60)  # SR-19
PREWARN_S = (1, 60)  # SR-20
REVERSE_S = (0.1, 2)  # SR-20: makers reverse within 0.1 s of the input; two samples must fit
TRAVEL_S = (1, 15)  # SR-22
PHOTOCELL_DWELL_S = (60, 120)  # LR-06
LUX_MAX = 1_000
LEASE_H_MAX = 12.0  # LR-02: the longest override any street may have
POWER_W_MAX = 2_000
RESERVED = "fleet"  # the fleet's own place in the topic tree


class SiteFileError(Exception):
    """The site file is refused. Nothing was started; the equipment runs its own plan.

    Args:
        problems: one line each: file, key, what was expected, what was found.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def read_cabinet(text: str, name: str) -> Cabinet:
    """Read a site file.

    Args:
        name: the file's name, for messages.

    Raises:
        SiteFileError: with all problems at once.
    """
    problems = Problems(name)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib's own error is a ValueError; so are too long numbers
        words = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise SiteFileError([f"{name}: not TOML: {words[:200]}"]) from error
    cabinet = _read_cabinet(Table(problems, "", values), name)
    if problems.lines:
        raise SiteFileError(problems.lines)
    return cabinet


def _read_cabinet(root: Table, name_of_file: str) -> Cabinet:
    city, gateway, name = _read_site(root.table("site"))
    brokers, silence_ms = _read_fleet(root.table("fleet", optional=True))
    poll_ms, profiles, state = _read_agent(root.table("agent", optional=True))
    observe_ms, presence, realtime, priority, guard_state = _read_guard(root.table("guard", optional=True))
    equipment, links = _read_equipment(root)
    root.end()
    site = Site(city, gateway, name, equipment, silence_ms)
    settings = (poll_ms, observe_ms, profiles, state, name_of_file, realtime, priority, guard_state)
    return Cabinet(site, links, presence, next(iter(brokers), None), *settings, brokers[1:])


def _read_site(table: Table | None) -> tuple[CityId, GatewayId, str]:
    if table is None:
        return CityId(""), GatewayId(""), ""
    city, gateway, name = CityId(table.id("city")), GatewayId(table.id("gateway")), table.text("name")
    if gateway == RESERVED:
        table.note("gateway", f'"{RESERVED}" is the fleet\'s own name')
    table.end()
    return city, gateway, name


def _read_fleet(table: Table | None) -> tuple[tuple[str, ...], int]:
    if table is None:
        return (), FLEET_SILENCE_MS
    expected = f"mqtt://host:port or mqtts://host:port, or a list of 1..{BROKERS_MAX} different ones"
    none: tuple[str, ...] = ()
    brokers = table.take("broker", expected, none, _brokers)
    silence_ms = table.ms("silence_s", 10, 3600, default_ms=FLEET_SILENCE_MS)
    table.end()
    return brokers, silence_ms


def _brokers(found: object) -> tuple[str, ...] | None:
    """One address, or some in the order they are tried."""
    listed = found if isinstance(found, list) else [found]
    addresses = tuple(each for each in listed if isinstance(each, str) and _is_broker(each))
    is_whole = len(set(addresses)) == len(listed)
    return addresses if is_whole and 1 <= len(addresses) <= BROKERS_MAX else None


def _is_broker(text: str) -> bool:
    parts = re.fullmatch(BROKER, text)
    return parts is not None and address_of(parts["address"]) is not None


def _read_agent(table: Table | None) -> tuple[int, PurePosixPath, PurePosixPath]:
    if table is None:
        return 1000, PurePosixPath("configs/profiles"), PurePosixPath("state")
    poll_ms = table.whole("poll_ms", 50, 60_000, "milliseconds", default=1000)
    profiles, state = table.text("profiles", "configs/profiles"), table.text("state", "state")
    table.end()
    return poll_ms, PurePosixPath(profiles), PurePosixPath(state)


OfGuard = tuple[int, PresenceInputs | None, Realtime, int, PurePosixPath | None]


def _read_guard(table: Table | None) -> OfGuard:
    if table is None:
        return 100, None, Realtime.IF_PERMITTED, REALTIME_PRIORITY, None
    state = PurePosixPath(table.text("state")) if table.has("state") else None
    words = "|".join(Realtime)
    realtime = Realtime(table.matching("realtime", words, words.replace("|", ", "), Realtime.IF_PERMITTED))
    priority = table.whole("realtime_priority", 1, REALTIME_PRIORITY_MAX, "priority", default=REALTIME_PRIORITY)
    observe_ms = table.whole("observe_ms", 10, OBSERVE_MS_MAX, "milliseconds", default=100)
    presence = None
    if inputs := table.table("presence", optional=True):
        expected = "the name of a point of the profile (a-z 0-9 _)"
        door_open = inputs.matching("door_open", POINT_NAME, expected)
        local_key = inputs.matching("local_key", POINT_NAME, expected)
        tag_out = inputs.matching("tag_out", POINT_NAME, expected, "")
        presence = PresenceInputs(read_modbus_keys(inputs), door_open, local_key, tag_out)
        if door_open == local_key != "":
            inputs.note("local_key", f"the same point as door_open, {shown(local_key)}")
        if tag_out and tag_out in (door_open, local_key):
            inputs.note("tag_out", f"the same point as another, {shown(tag_out)}")
        inputs.end()
    table.end()
    return observe_ms, presence, realtime, priority, state


def _read_equipment(root: Table) -> tuple[Mapping[EquipmentId, Equipment], Mapping[EquipmentId, Link]]:
    """Every piece of equipment and its link; ids are unique over all kinds."""
    equipment: dict[EquipmentId, Equipment] = {}
    links: dict[EquipmentId, Link] = {}
    owners = _Owners()
    lamps: list[tuple[Table, Lamp]] = []
    for key, read in READERS.items():
        for table in root.tables(key):
            made, link = read(table)
            table.end()
            if made.id in equipment:
                table.note("id", f"{shown(made.id)} is used twice")
            if made.id:
                equipment[made.id] = made
            if isinstance(made, Lamp):
                lamps.append((table, made))
            if link is not None:
                links[made.id] = link
                if isinstance(made, Junction | Bollard | Segment) and (other := owners.claim(made, link)):
                    table.note("modbus" if isinstance(link, ModbusLink) else "snmp", f"drives what {other} drives")
    for table, lamp in lamps:
        if lamp.segment and not isinstance(equipment.get(lamp.segment), Segment):
            table.note("segment", f"expected the id of a segment of this file, found {shown(lamp.segment)}")
    return equipment, links


class _Owners:
    """Who drives what: two owners of one output would undo each other. Reading one unit twice is harmless.

    A bollard owns its whole unit: its coils mean other things than a cabinet's.
    """

    def __init__(self) -> None:
        self._outputs: dict[tuple[object, ...], EquipmentId] = {}

    def claim(self, made: Junction | Bollard | Segment, link: Link) -> EquipmentId | None:
        """Take an output; return who has it already."""
        unit = (link.address, link.unit) if isinstance(link, ModbusLink) else (link.address,)
        own = (*unit, link.channel) if isinstance(made, Segment) and isinstance(link, ModbusLink) else unit
        for output in (unit, own):
            if (other := self._outputs.get(output)) is not None:
                return other
        self._outputs[own] = made.id
        return None


def _read_common(table: Table) -> tuple[EquipmentId, str, Position]:
    position = table.pair("position", (90.0, 180.0), "[latitude -90..90, longitude -180..180] in degrees")
    return EquipmentId(table.id("id")), table.text("name"), Position(*position)


def _read_junction(table: Table) -> tuple[Equipment, Link | None]:
    return read_junction_keys(table, *_read_common(table)), read_snmp(table)


def _read_bollard(table: Table) -> tuple[Equipment, Link | None]:
    bollard = Bollard(
        *_read_common(table),
        loops_free_ms_min=table.ms("loops_free_s_min", *LOOPS_FREE_S),
        prewarn_ms_min=table.ms("prewarn_s_min", *PREWARN_S, default_ms=1_000),
        reverse_ms_max=table.ms("reverse_s_max", *REVERSE_S, default_ms=500),
        travel_ms_max=table.ms("travel_s_max", *TRAVEL_S, default_ms=15_000),
        rises_alone=table.take("rises_alone", "true or false", False, _truth, optional=True),
    )
    return bollard, read_modbus(table)


def _read_segment(table: Table) -> tuple[Equipment, Link | None]:
    segment = Segment(
        *_read_common(table),
        lighting_class=table.matching("lighting_class", LIGHTING_CLASS, "an EN 13201 class such as M4"),
        level_floor_percent=table.whole("level_floor_percent", 1, 100, "percent"),
        night_level_percent=table.whole("night_level_percent", 1, 100, "percent", stand_in=100),
        lease_ms_max=table.ms("lease_h_max", 0.01, LEASE_H_MAX, "hours", default_ms=round(LEASE_H_MAX * 3_600_000)),
        photocell=_read_photocell(table.table("photocell", optional=True)),
    )
    if segment.night_level_percent < segment.level_floor_percent:
        found = f"{segment.night_level_percent} % is below level_floor_percent, {segment.level_floor_percent} %"
        table.note("night_level_percent", found)
    return segment, read_modbus(table)


def _read_photocell(table: Table | None) -> Photocell | None:
    if table is None:
        return None
    dark = table.whole("dark_below_lux", 1, LUX_MAX, "lux", default=35)
    light = table.whole("light_above_lux", 1, LUX_MAX, "lux", default=70)
    if light <= dark:
        table.note("light_above_lux", f"{light} lx is not above dark_below_lux, {dark} lx: the lamps would flicker")
    photocell = Photocell(dark, light, table.ms("dwell_s", *PHOTOCELL_DWELL_S, default_ms=60_000))
    table.end()
    return photocell


def _truth(found: object) -> bool | None:
    return found if isinstance(found, bool) else None


def _read_lamp(table: Table) -> tuple[Equipment, Link | None]:
    common = _read_common(table)
    return Lamp(*common, EquipmentId(table.id("segment")), table.whole("power_w", 1, POWER_W_MAX, "watts")), None


def _read_meter(table: Table) -> tuple[Equipment, Link | None]:
    return Meter(*_read_common(table)), read_modbus(table)


def _read_points(table: Table) -> tuple[Equipment, Link | None]:
    return Points(*_read_common(table)), read_modbus(table)


READERS: Mapping[str, Callable[[Table], tuple[Equipment, Link | None]]] = {
    "junction": _read_junction,
    "bollard": _read_bollard,
    "segment": _read_segment,
    "lamp": _read_lamp,
    "meter": _read_meter,
    "points": _read_points,
}
