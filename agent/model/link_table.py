"""How equipment is reached: the link tables of a site file."""

import re

from agent.model.site import Address, ModbusLink, SnmpLink
from agent.model.toml_table import Table

PROFILE_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:]{2,39}\]"
PORT_MAX = 65_535
CHANNEL_MAX = 63
NOWHERE = Address("", 0)


def address_of(found: object) -> Address | None:
    """``host:port``, or None; an IPv6 address stands in brackets."""
    if not isinstance(found, str):
        return None
    host, _, port = found.rpartition(":")
    if not re.fullmatch(HOST, host) or not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > PORT_MAX:
        return None
    return Address(host.strip("[]"), int(port))


def read_modbus_keys(table: Table) -> ModbusLink:
    """The keys of a Modbus link, inside whatever table they stand."""
    address = table.take("address", f"host:port with a port 1..{PORT_MAX}", NOWHERE, address_of)
    unit = table.whole("unit", 1, 247, "unit")
    profile = table.matching("profile", PROFILE_NAME, "the name of a register map (a-z 0-9 -)")
    channel = table.whole("channel", 0, CHANNEL_MAX, "channel", default=0)
    return ModbusLink(address, unit, profile, channel)


def read_modbus(owner: Table) -> ModbusLink | None:
    """The ``modbus`` table of a piece of equipment."""
    table = owner.table("modbus")
    if table is None:
        return None
    link = read_modbus_keys(table)
    table.end()
    return link


def read_snmp(owner: Table) -> SnmpLink | None:
    """The ``snmp`` table of a junction."""
    table = owner.table("snmp")
    if table is None:
        return None
    link = SnmpLink(
        address=table.take("address", f"host:port with a port 1..{PORT_MAX}", NOWHERE, address_of),
        version=table.matching("version", "1|2c", '"1" or "2c"', default="1"),
        read_community=table.text("read_community"),
        write_community=table.text("write_community"),
    )
    table.end()
    return link
