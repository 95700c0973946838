"""The site file: every fact arrives, and everything wrong is told at once, with file, key and expectation."""

import random
import tomllib
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model.equipment import Bollard, GroupKind, Junction, Lamp, Meter, Points, Position, Segment
from agent.model.identity import EquipmentId
from agent.model.site import Address, ModbusLink, PresenceInputs, SnmpLink
from agent.model.site_file import SiteFileError, read_cabinet

WHOLE = Path(__file__).with_name("site.toml").read_text()
SMALLEST = '[site]\ncity = "dijon"\ngateway = "gw-1"\nname = "One"\n'


def problems(text: str, name: str = "site.toml") -> tuple[str, ...]:
    with pytest.raises(SiteFileError) as caught:
        read_cabinet(text, name)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert WHOLE.count(old) >= 1, old
    return WHOLE.replace(old, new, 1)


def test_every_fact_of_a_whole_file_arrives() -> None:
    cabinet = read_cabinet(WHOLE, "site.toml")
    site = cabinet.site
    assert (site.city, site.gateway, site.name) == ("dijon", "gw-darcy", "Place Darcy")
    assert (cabinet.broker, site.fleet_silence_ms) == ("mqtt://127.0.0.1:1883", 90_000)
    assert (cabinet.poll_ms, cabinet.observe_ms) == (500, 50)
    assert (cabinet.profiles, cabinet.state) == (PurePosixPath("profiles"), PurePosixPath("/var/lib/armoire"))
    inputs = ModbusLink(Address("127.0.0.1", 5020), 1, "cabinet-ref")
    assert cabinet.presence == PresenceInputs(inputs, "door_open", "key_local")
    assert list(site.equipment) == ["darcy", "musette", "depart-1", "lamp-1", "meter-1", "doors"]


def test_a_junction_arrives_with_its_matrix() -> None:
    cabinet = read_cabinet(WHOLE, "site.toml")
    junction = cabinet.site.equipment[EquipmentId("darcy")]
    assert isinstance(junction, Junction)
    assert junction.position == Position(47.32, 5.04)
    assert [
        (group.number, group.name, group.kind, group.green_ms_min, group.yellow_ms_min) for group in junction.groups
    ] == [
        (1, "Darcy south left", GroupKind.VEHICLE, 6_000, 3_000),
        (2, "Rue de la Liberté", GroupKind.BUS, 6_500, 4_000),
        (3, "Crossing", GroupKind.PEDESTRIAN, 8_000, 0),
    ]
    assert junction.conflicts == {frozenset({1, 2}), frozenset({1, 3})}
    assert junction.intergreen_ms == {(1, 2): 4_500, (2, 1): 5_000, (1, 3): 5_000, (3, 1): 9_000}
    assert (junction.plans, junction.backup_time_s) == ({1, 2, 253}, 60)
    assert cabinet.links[junction.id] == SnmpLink(Address("127.0.0.1", 16161), "2c", "read", "write")


def test_the_other_equipment_arrives() -> None:
    cabinet = read_cabinet(WHOLE, "site.toml")
    here = Position(47.32, 5.04)
    assert list(cabinet.site.equipment.values())[1:] == [
        Bollard(EquipmentId("musette"), "Rue Musette", here, 2_500),
        Segment(EquipmentId("depart-1"), "Départ 1", here, "M4", 30, 70, 1_800_000),
        Lamp(EquipmentId("lamp-1"), "Lamp 1", here, EquipmentId("depart-1"), 40),
        Meter(EquipmentId("meter-1"), "Meter", here),
        Points(EquipmentId("doors"), "Doors", here),
    ]
    assert cabinet.links[EquipmentId("depart-1")] == ModbusLink(Address("127.0.0.1", 5020), 1, "cabinet-ref", 3)
    assert cabinet.links[EquipmentId("musette")] == ModbusLink(Address("plc.local", 502), 247, "bollard-ref")
    assert cabinet.links[EquipmentId("doors")] == ModbusLink(Address("::1", 502), 9, "cabinet-ref")
    assert EquipmentId("lamp-1") not in cabinet.links


def test_the_smallest_file_has_the_written_defaults() -> None:
    cabinet = read_cabinet(SMALLEST, "site.toml")
    assert (cabinet.broker, cabinet.presence, cabinet.site.fleet_silence_ms) == (None, None, 120_000)
    assert (cabinet.poll_ms, cabinet.observe_ms) == (1000, 100)
    assert (str(cabinet.profiles), str(cabinet.state)) == ("configs/profiles", "state")
    assert (dict(cabinet.site.equipment), dict(cabinet.links)) == ({}, {})
    sections = read_cabinet(SMALLEST + "[agent]\n[guard]\n", "site.toml")
    assert sections == cabinet


DOUBLE_GROUP = """junction[0].groups[1].number: group 1 is there twice
junction[0].conflicts[0]: expected a pair of different group numbers of this junction, found [1, 2]
junction[0].intergreen_s.1-2: expected "ending-starting", two group numbers of this junction"""
RENAMED_KEY = """junction[0].backup_time_s: missing, expected seconds 10..120
junction[0].backup_times: unknown key; did you mean backup_time_s?"""
RENAMED_SECTION = """site: missing, expected a table
place: unknown key; known here: site, fleet, agent, guard, junction, bollard, segment, lamp, meter, points"""
GROUP_1, GROUP_3 = "junction[0].groups[0]", "junction[0].groups[2]"
WRONG = [
    ("green_min_s = 6,", 'green_min_s = "six",', f'{GROUP_1}.green_min_s: expected seconds 1..60, found "six"'),
    ("green_min_s = 6,", "green_min_s = 0.9,", f"{GROUP_1}.green_min_s: expected seconds 1..60, found 0.9"),
    ("green_min_s = 6,", "green_min_s = 60.1,", f"{GROUP_1}.green_min_s: expected seconds 1..60, found 60.1"),
    ("green_min_s = 6,", "green_min_s = nan,", f"{GROUP_1}.green_min_s: expected seconds 1..60, found nan"),
    ("green_min_s = 6,", "green_min_s = true,", f"{GROUP_1}.green_min_s: expected seconds 1..60, found true"),
    ("green_min_s = 6,", "", f"{GROUP_1}.green_min_s: missing, expected seconds 1..60"),
    ("yellow_min_s = 3 ", "yellow_min_s = 2.9 ", f"{GROUP_1}.yellow_min_s: expected seconds 3..10, found 2.9"),
    ("yellow_min_s = 0 ", "yellow_min_s = -1 ", f"{GROUP_3}.yellow_min_s: expected seconds 0..10, found -1"),
    ('kind = "vehicle"', 'kind = "tram"', f'{GROUP_1}.kind: expected one of vehicle, pedestrian, bus, found "tram"'),
    ('kind = "vehicle"', "kind = [1]", f"{GROUP_1}.kind: expected one of vehicle, pedestrian, bus, found [1]"),
    ("number = 2", "number = 1", DOUBLE_GROUP),
    ("backup_time_s = 60", "backup_time_s = 9", "junction[0].backup_time_s: expected seconds 10..120, found 9"),
    ("backup_time_s = 60", "backup_time_s = 121", "junction[0].backup_time_s: expected seconds 10..120, found 121"),
    ("backup_time_s = 60", "backup_time_s = 60.0", "junction[0].backup_time_s: expected seconds 10..120, found 60.0"),
    (
        "backup_time_s = 60",
        "backup_times = 60",
        RENAMED_KEY,
    ),
    ("[1, 2, 253]", "[1, 254]", "junction[0].plans[1]: expected a plan number 1..253, found 254"),
    ("[1, 2, 253]", "[0, 2]", "junction[0].plans[0]: expected a plan number 1..253, found 0"),
    ("[1, 2, 253]", "[2, 2]", "junction[0].plans[1]: plan 2 is there twice"),
    ("[1, 2, 253]", "[true]", "junction[0].plans[0]: expected a plan number 1..253, found true"),
    ("[1, 2, 253]", "7", "junction[0].plans: expected an array of plan numbers 1..253, found 7"),
    (
        "[[1, 2], [1, 3]]",
        "[[1, 2], [1, 3], [2, 1]]",
        "junction[0].conflicts[2]: groups 2 and 1 are there twice; one pair holds in both directions",
    ),
    (
        "[[1, 2], [1, 3]]",
        "[[1, 2], [1, 3], [1, 9]]",
        "junction[0].conflicts[2]: expected a pair of different group numbers of this junction, found [1, 9]",
    ),
    (
        "[[1, 2], [1, 3]]",
        "[[1, 2], [1, 3], [1, 1]]",
        "junction[0].conflicts[2]: expected a pair of different group numbers of this junction, found [1, 1]",
    ),
    (
        "[[1, 2], [1, 3]]",
        "[[1, 2], [1, 3], 5]",
        "junction[0].conflicts[2]: expected a pair of different group numbers of this junction, found 5",
    ),
    ('"3-1" = 9', '"3-1" = 61', 'junction[0].intergreen_s.3-1: expected seconds 1..60, found 61'),
    ('"3-1" = 9', '"3-1" = 9, "2-3" = 5', 'junction[0].intergreen_s.2-3: groups 2 and 3 are not in conflicts'),
    (
        '"3-1" = 9',
        '"3-1" = 9, "3-01" = 5',
        'junction[0].intergreen_s.3-01: expected "ending-starting", two group numbers of this junction',
    ),
    ('"1-2" = 4.5', '"1-2" = 2.9', 'junction[0].intergreen_s.1-2: 2.9 s is below the yellow of group 1, 3 s'),
    (
        "intergreen_default_s = 5",
        "",
        "\n".join(
            f'junction[0].intergreen_s.{pair}: missing, expected an intergreen for both directions of every conflict, '
            "or a default"
            for pair in ("2-1", "1-3")
        ),
    ),
    ('"2c"', '"3"', 'junction[0].snmp.version: expected "1" or "2c", found "3"'),
    ("127.0.0.1:16161", "127.0.0.1", 'junction[0].snmp.address: expected host:port with a port 1..65535, found "127.0.0.1"'),
    (
        "127.0.0.1:16161",
        "127.0.0.1:65536",
        'junction[0].snmp.address: expected host:port with a port 1..65535, found "127.0.0.1:65536"',
    ),
    ('id = "musette"', 'id = "darcy"', 'bollard[0].id: "darcy" is used twice'),
    (
        'id = "musette"',
        'id = "-musette"',
        'bollard[0].id: expected an id of 1..40 of a-z 0-9 - (no hyphen at either end), found "-musette"',
    ),
    ("unit = 247", "unit = 248", "bollard[0].modbus.unit: expected unit 1..247, found 248"),
    ("unit = 247", "unit = 0", "bollard[0].modbus.unit: expected unit 1..247, found 0"),
    (
        '"bollard-ref"',
        '"../bollard"',
        'bollard[0].modbus.profile: expected the name of a register map (a-z 0-9 -), found "../bollard"',
    ),
    ('lighting_class = "M4"', 'lighting_class = "m4"', 'segment[0].lighting_class: expected an EN 13201 class such as M4, found "m4"'),
    ("level_floor_percent = 30", "level_floor_percent = 0", "segment[0].level_floor_percent: expected percent 1..100, found 0"),
    (
        "night_level_percent = 70",
        "night_level_percent = 29",
        "segment[0].night_level_percent: 29 % is below level_floor_percent, 30 %",
    ),
    ("channel = 3", "channel = 64", "segment[0].modbus.channel: expected channel 0..63, found 64"),
    ('segment = "depart-1"', 'segment = "depart-2"', 'lamp[0].segment: expected the id of a segment of this file, found "depart-2"'),
    ('segment = "depart-1"', 'segment = "musette"', 'lamp[0].segment: expected the id of a segment of this file, found "musette"'),
    ("power_w = 40", "power_w = 0", "lamp[0].power_w: expected watts 1..2000, found 0"),
    ("[[points]]", "[points]", "points: expected an array of tables, found a table"),
    ("[[points]]", "[[point]]", "point: unknown key; did you mean points?"),
    ('"Doors"', '" "', 'points[0].name: expected text of 1..200 printable characters, found " "'),
    ('"Doors"', '"a\\nb"', 'points[0].name: expected text of 1..200 printable characters, found "a?b"'),
    (
        "[47.32, 5.04]",
        "[90.1, 5.04]",
        "junction[0].position: expected [latitude -90..90, longitude -180..180] in degrees, found [90.1, 5.04]",
    ),
    (
        "[47.32, 5.04]",
        "[47.32]",
        "junction[0].position: expected [latitude -90..90, longitude -180..180] in degrees, found [47.32]",
    ),
    ('"gw-darcy"', '"fleet"', 'site.gateway: "fleet" is the fleet\'s own name'),
    ('"gw-darcy"', "2026-04-01", "site.gateway: expected an id of 1..40 of a-z 0-9 - (no hyphen at either end), found 2026-04-01"),
    (
        '"mqtt://127.0.0.1:1883"',
        '"http://127.0.0.1:1883"',
        'fleet.broker: expected mqtt://host:port or mqtts://host:port, or a list of 1..4 different ones, found "http://127.0.0.1:1883"',
    ),
    ("silence_s = 90", "silence_s = 9", "fleet.silence_s: expected seconds 10..3600, found 9"),
    ("poll_ms = 500", "poll_ms = 49", "agent.poll_ms: expected milliseconds 50..60000, found 49"),
    ("observe_ms = 50", "observe_ms = 201", "guard.observe_ms: expected milliseconds 10..200, found 201"),
    ('"key_local"', '"door_open"', 'guard.presence.local_key: the same point as door_open, "door_open"'),
    ("[guard.presence]", "[guard.presense]", "guard.presense: unknown key; did you mean presence?"),
    ("[site]", "[place]", RENAMED_SECTION),
]  # fmt: skip


PLANS = "plans = [1, 2, 253]\n"


@pytest.mark.parametrize(("old", "new", "lines"), WRONG, ids=[f"{old} -> {new}" for old, new, _ in WRONG])
def test_what_is_wrong_is_told_with_file_key_and_expectation(old: str, new: str, lines: str) -> None:
    assert problems(changed(old, new)) == tuple(f"site.toml: {line}" for line in lines.split("\n"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("green_min_s = 6,", "green_min_s = 1,"),
        ("green_min_s = 6,", "green_min_s = 60,"),
        ("backup_time_s = 60", "backup_time_s = 10"),
        ("backup_time_s = 60", "backup_time_s = 120"),
        ('"1-2" = 4.5', '"1-2" = 3'),
        ("observe_ms = 50", "observe_ms = 200"),
        ("observe_ms = 50", "observe_ms = 10"),
        ("unit = 247", "unit = 1"),
        ("level_floor_percent = 30", "level_floor_percent = 70"),
        ("level_floor_percent = 30", "level_floor_percent = 1"),
        ('"mqtt://127.0.0.1:1883"', '"mqtts://broker.example:8883"'),
        (PLANS, f"{PLANS}stages = [[1], [2, 3]]\n"),
        (PLANS, f"{PLANS}red_supervision = [3, 1, 2]\n"),
        (PLANS, f"{PLANS}all_red_s_min = 0\n"),
        ("yellow_min_s = 0 }", "yellow_min_s = 0, clearing_m = 1 }"),
        ("[1, 2, 253]", "[]"),
        ("[47.32, 5.04]", "[-90, 180]"),
    ],
)
def test_each_limit_itself_is_allowed(old: str, new: str) -> None:
    read_cabinet(changed(old, new), "site.toml")


def test_all_problems_come_at_once() -> None:
    text = changed("green_min_s = 6,", 'green_min_s = "six",').replace("power_w = 40", "power_w = -1")
    assert [line.split(": ")[1] for line in problems(text, "other.toml")] == [
        f"{GROUP_1}.green_min_s",
        "lamp[0].power_w",
    ]
    assert all(line.startswith("other.toml: ") for line in problems(text, "other.toml"))


def test_a_junction_without_groups_or_conflicts_is_told() -> None:
    alone = '[[junction]]\nid = "j"\nname = "J"\nposition = [0, 0]\nbackup_time_s = 60\nplans = []\n'
    link = 'snmp = { address = "h:1", read_community = "r", write_community = "w" }\n'
    two = 'groups = [{number=1,name="a",kind="bus",green_min_s=6,yellow_min_s=3},{number=2,name="b",kind="bus",green_min_s=6,yellow_min_s=3}]\n'
    assert problems(SMALLEST + alone + link) == (
        "site.toml: junction[0].groups: missing, expected an array of signal groups",
        "site.toml: junction[0].conflicts: missing, expected an array of pairs of group numbers",
    )
    assert problems(SMALLEST + alone + link + two + "conflicts = []\n") == (
        "site.toml: junction[0].conflicts: expected at least one pair: no two of these groups would conflict",
    )


def test_two_owners_of_one_output_are_told() -> None:
    second = WHOLE[WHOLE.index("[[segment]]") : WHOLE.index("[[lamp]]")].replace("depart-1", "depart-2")
    assert problems(WHOLE + second) == ("site.toml: segment[1].modbus: drives what depart-1 drives",)
    read_cabinet(WHOLE + second.replace("channel = 3", "channel = 4"), "site.toml")
    junction = WHOLE[WHOLE.index("[[junction]]") : WHOLE.index("[[bollard]]")].replace('"darcy"', '"darcy-2"')
    assert problems(WHOLE + junction) == ("site.toml: junction[1].snmp: drives what darcy drives",)


def test_no_segment_writes_to_a_bollards_unit_whatever_the_channel() -> None:
    """Coil 1 of a cabinet is a segment, of a bollard's PLC it is raise."""
    moved = WHOLE.replace('address = "127.0.0.1:5020", unit = 1,', 'address = "plc.local:502", unit = 247,', 1)
    assert problems(moved) == ("site.toml: segment[0].modbus: drives what musette drives",)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[site", "site.toml: not TOML: Expected ']' at the end of a table declaration (at end of document)"),
        ("a = " + "[" * 9_000, "site.toml: not TOML: nested too deeply"),
        ("a = " + "9" * 9_000, None),
        ("\0", None),
        ("a = 2026-99-99", None),
        ("\ud800 = 1", None),
    ],
    ids=["cut", "deep", "long number", "nul", "no date", "surrogate"],
)
def test_what_is_not_toml_is_one_problem(text: str, line: str | None) -> None:
    (said,) = problems(text)
    assert said.startswith("site.toml: not TOML: ")
    assert said == line or line is None


def survives(text: str) -> None:
    try:
        read_cabinet(text, "fuzz.toml")
    except SiteFileError as error:
        lines = error.problems
    else:
        return
    assert lines
    assert all(line.startswith("fuzz.toml: ") and "\n" not in line for line in lines)


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_a_site_file_error(text: str) -> None:
    survives(text)
    survives(SMALLEST + text)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_no_damage_to_a_good_file_raises_anything_else(seed: int) -> None:
    damage = random.Random(seed)
    for _ in range(10):
        text = WHOLE
        for _ in range(damage.randrange(1, 4)):
            at = damage.randrange(len(text))
            end = at + damage.choice((0, 1, 1, damage.randrange(40)))
            text = text[:at] + damage.choice(("", "0", "-", '"', "[", "}", "\0", "=", "9" * 30, "\n", "é")) + text[end:]
        survives(text)


VALUES: st.SearchStrategy[object] = st.recursive(
    st.sampled_from(
        [0, -1, 10**80, 2**64, 1.5, float("nan"), float("inf"), True, "", "a", "\U0001f6a6", "x" * 300, "1-2"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "number", "x", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)


def written(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{written(key)} = {written(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case str():
            return '"' + value + '"'
        case _:
            return str(value)


KEYS = [line.split(" = ")[0] for line in WHOLE.splitlines() if " = " in line]


@given(place=st.integers(0, len(KEYS) - 1), value=VALUES)
def test_any_value_at_any_key_is_read_or_told(place: int, value: object) -> None:
    lines = WHOLE.splitlines()
    at = [number for number, line in enumerate(lines) if " = " in line][place]
    lines[at] = f"{KEYS[place]} = {written(value)}"
    text = "\n".join(lines)
    tomllib.loads(text)
    survives(text)


def test_sr_03_07_16_26_facts_of_a_junction_are_read_and_have_safe_defaults() -> None:
    unwritten = read_cabinet(changed(PLANS, PLANS), "site.toml").site.equipment[EquipmentId("darcy")]
    assert isinstance(unwritten, Junction)
    assert (unwritten.red_ms_max, unwritten.configuration_id, unwritten.red_yellow_allowed) == (120_000, None, False)
    assert [(group.has_red, group.call_phase) for group in unwritten.groups] == [(True, 1), (True, 0), (True, 0)]
    text = changed(PLANS, f"{PLANS}red_max_s = 90\nconfiguration_id = 4711\nred_yellow_allowed = true\n")
    text = text.replace("yellow_min_s = 0 }", "yellow_min_s = 0, has_red = false, call_phase = 2 }")
    written = read_cabinet(text, "site.toml").site.equipment[EquipmentId("darcy")]
    assert isinstance(written, Junction)
    assert (written.red_ms_max, written.configuration_id, written.red_yellow_allowed) == (90_000, 4711, True)
    assert [(group.has_red, group.call_phase) for group in written.groups] == [(True, 1), (True, 0), (False, 2)]
    assert (written.call_phases(of_pedestrians=False), written.call_phases(of_pedestrians=True)) == (0b01, 0b10)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("red_max_s = 9", "red_max_s: expected seconds 10..3600, found 9"),
        ("red_max_s = 3601", "red_max_s: expected seconds 10..3600, found 3601"),
        ("configuration_id = 65536", "configuration_id: expected globalSetIDParameter 0..65535, found 65536"),
        ('configuration_id = "1"', 'configuration_id: expected globalSetIDParameter 0..65535, found "1"'),
        ("red_yellow_allowed = 1", "red_yellow_allowed: expected true or false, found 1"),
    ],
)
def test_what_is_wrong_with_the_longest_red_and_the_configuration_is_told(more: str, line: str) -> None:
    assert problems(changed(PLANS, f"{PLANS}{more}\n")) == (f"site.toml: junction[0].{line}",)
