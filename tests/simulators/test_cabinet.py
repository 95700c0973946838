"""The lighting cabinet and its meter, stepped by hand."""

import struct

import pytest

from simulators.cabinet import LightingCabinet
from simulators.meter import Meter, float_words
from simulators.modbus_frame import Table
from simulators.sun import elevation_deg

HEARTBEAT = bytes.fromhex("060003")
OFF, ON = 0x0000, 0xFF00


def cabinet_at(now_s: float = 0.0) -> LightingCabinet:
    cabinet = LightingCabinet(epoch_s=1_780_000_000)
    cabinet.step(now_s)
    return cabinet


def write_coil(cabinet: LightingCabinet, index: int, value: int) -> bytes:
    return cabinet.execute(struct.pack(">BHH", 5, index, value))


def write_register(cabinet: LightingCabinet, address: int, value: int) -> bytes:
    return cabinet.execute(struct.pack(">BHH", 6, address, value))


def float_at(meter: Meter, address: int) -> float:
    table = meter.tables[Table.INPUTS]
    return float(struct.unpack(">f", struct.pack(">HH", table[address], table[address + 1]))[0])


def test_the_contactor_follows_its_command_after_a_tenth_of_a_second() -> None:
    cabinet = cabinet_at()
    cabinet.step(1.0)
    write_coil(cabinet, 2, OFF)
    cabinet.step(1.05)
    assert cabinet.tables[Table.DISCRETES][2] == 1
    cabinet.step(1.2)
    assert cabinet.tables[Table.DISCRETES][2] == 0
    assert cabinet.tables[Table.INPUTS][10] == 0


def test_a_stopped_heartbeat_puts_the_outputs_on_the_safe_mask() -> None:
    cabinet = cabinet_at()
    write_register(cabinet, 2, 0b0000_0101)
    for index in range(8):
        write_coil(cabinet, index, OFF)
    write_register(cabinet, 10, 20)
    cabinet.step(59.9)
    assert not any(cabinet.coils)
    cabinet.step(60.1)
    assert [index for index, on in enumerate(cabinet.coils) if on] == [0, 2]
    assert cabinet.segments[0].level == 100
    assert write_coil(cabinet, 0, OFF) == b"\x85\x04"
    cabinet.execute(HEARTBEAT + b"\x00\x09")
    assert write_coil(cabinet, 0, OFF)[0] == 5


def test_the_same_heartbeat_value_again_is_no_sign_of_life() -> None:
    cabinet = cabinet_at()
    cabinet.step(30)
    write_register(cabinet, 3, 1)
    cabinet.step(60)
    write_register(cabinet, 3, 1)
    cabinet.step(91)
    assert cabinet.watchdog_expired


def test_under_the_local_key_every_write_is_refused_and_the_watchdog_rests() -> None:
    cabinet = cabinet_at()
    cabinet.stimulate({"local_key": True})
    cabinet.step(500)
    assert write_coil(cabinet, 0, OFF) == b"\x85\x04"
    assert write_register(cabinet, 3, 5) == b"\x86\x04"
    assert cabinet.tables[Table.HOLDINGS][112] == 3
    assert not cabinet.watchdog_expired


@pytest.mark.parametrize(("address", "value"), [(0, 0), (2, 256), (10, 101), (112, 3)])
def test_a_value_out_of_range_is_refused(address: int, value: int) -> None:
    assert write_register(cabinet_at(), address, value) == b"\x86\x03"


@pytest.mark.parametrize("pdu", ["0100060003", "0600010005", "0600630005", "0400060001"])
def test_a_hole_in_the_map_or_a_read_only_register_answers_exception_2(pdu: str) -> None:
    assert cabinet_at().execute(bytes.fromhex(pdu))[1] == 2


def test_the_photocell_has_hysteresis_and_drives_the_lamps_in_its_mode() -> None:
    cabinet = cabinet_at()
    write_register(cabinet, 112, 1)
    lit = []
    for now_s, lux in enumerate((100, 50, 30, 50, 100), start=1):
        cabinet.stimulate({"lux": lux})
        cabinet.step(now_s)
        lit.append(cabinet.coils[0])
    assert lit == [False, False, True, True, False]


def test_in_astronomical_mode_the_lamps_burn_at_midnight_and_not_at_noon() -> None:
    for epoch_s, burning in ((1_768_435_200, True), (1_768_478_400, False)):  # 2026-01-15 00:00 and 12:00 UTC
        cabinet = LightingCabinet(epoch_s=epoch_s)
        cabinet.step(0)
        write_register(cabinet, 112, 0)
        cabinet.step(1)
        assert cabinet.coils[0] is burning


def test_the_sun_sets_in_dijon_when_the_almanac_says() -> None:
    sunset_s = 1_782_070_781  # 2026-06-21 21:39:41 +02:00
    assert elevation_deg(sunset_s, 47.3220, 5.0415) == pytest.approx(-0.83, abs=0.6)


def test_a_power_cut_opens_every_contactor() -> None:
    cabinet = cabinet_at()
    cabinet.step(1)
    cabinet.faults.switch("power_cut")
    cabinet.step(2)
    cabinet.step(2.2)
    assert cabinet.tables[Table.DISCRETES][26] == 0
    assert cabinet.tables[Table.DISCRETES][28] == 1
    assert not any(cabinet.tables[Table.DISCRETES][index] for index in range(8))
    assert cabinet.load_w() == (0, 0, 0)


def test_the_meter_measures_what_the_segments_draw() -> None:
    cabinet = cabinet_at()
    meter = Meter(cabinet.load_w)
    cabinet.step(1)
    meter.step(1)
    full_w = float_at(meter, 0x34)
    assert full_w == pytest.approx(8 * 2400 + 15)
    for index in range(8):
        write_register(cabinet, 10 + index, 50)
    cabinet.step(2)
    meter.step(2)
    assert float_at(meter, 0x34) == pytest.approx(8 * 2400 * 0.53 + 15)
    phases_w = [float_at(meter, address) for address in (0x0C, 0x0E, 0x10)]
    assert sum(phases_w) == pytest.approx(float_at(meter, 0x34))
    assert phases_w[0] == pytest.approx(float_at(meter, 0x00) * float_at(meter, 0x06) * 0.95, rel=1e-3)


def test_energy_adds_up() -> None:
    meter = Meter(lambda: (1000.0, 500.0, 485.0))
    for second in range(0, 3601, 10):
        meter.step(second)
    assert float_at(meter, 0x48) == pytest.approx(2.0, rel=1e-6)
    assert float_at(meter, 0x156) == float_at(meter, 0x48)


def test_floats_stand_in_registers_as_the_meter_sheet_says() -> None:
    assert float_words(230.5) == (0x4366, 0x8000)
