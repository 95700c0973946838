"""The site: every piece of equipment behind one gateway, and how each is reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from agent.model.equipment import Equipment
from agent.model.identity import CityId, EquipmentId, GatewayId


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP or UDP endpoint."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ModbusLink:
    """One unit behind one Modbus TCP endpoint.

    Args:
        unit: 1..247.
        profile: name of the register map, ``configs/profiles/<profile>.toml``.
        channel: which of the unit's repeated outputs this equipment is (segment 0..7); 0 where there is one.
    """

    address: Address
    unit: int
    profile: str
    channel: int = 0


@dataclass(frozen=True, slots=True)
class SnmpLink:
    """One NTCIP controller. Version 1 or 2c; communities are passwords in the clear, so the cabinet LAN is hostile."""

    address: Address
    version: str
    read_community: str
    write_community: str


Link = ModbusLink | SnmpLink


@dataclass(frozen=True, slots=True)
class PresenceInputs:
    """Where the guard reads the cabinet door and the local key.

    Args:
        door_open: name of the profile's point that is true while the door is open.
        local_key: name of the profile's point that is true while the key is turned to local.
        tag_out: name of the point that is true while somebody's lock is in the tag-out switch; empty if there is none.
    """

    link: ModbusLink
    door_open: str
    local_key: str
    tag_out: str = ""

    @property
    def points(self) -> tuple[str, ...]:
        """The names of all of them."""
        return tuple(name for name in (self.door_open, self.local_key, self.tag_out) if name)


@dataclass(frozen=True, slots=True)
class Site:
    """Facts about one cabinet: what the kernel judges against.

    Args:
        fleet_silence_ms: after this long without the fleet, overrides are released (SR-11).
    """

    city: CityId
    gateway: GatewayId
    name: str
    equipment: Mapping[EquipmentId, Equipment]
    fleet_silence_ms: int


class Realtime(StrEnum):
    """Whether the guard asks the kernel to run before other processes and to keep its memory."""

    OFF = "off"
    IF_PERMITTED = "if-permitted"
    REQUIRED = "required"
    """It does not start without."""


@dataclass(frozen=True, slots=True)
class Cabinet:
    """The whole site file: the facts, the links, and the gateway's own settings.

    Args:
        links: equipment -> how it is reached; lamps have none (their segment has).
        broker: ``mqtt://host:port`` or ``mqtts://host:port``; None runs without a fleet.
        other_brokers: tried in turn when that one fails; they need not know each other.
        poll_ms: the agent's polling period. observe_ms: the guard's.
        profiles: folder of register maps. state: folder of databases, keys and sockets.
        guard_state: the guard's own one, where the agent may not write; None if they share one.
        realtime: the guard's claim on the processor; realtime_priority: of SCHED_FIFO, 1..49.
        file: name of the site file; its signature lies beside it, as ``<file>.sig``.
    """

    site: Site
    links: Mapping[EquipmentId, Link]
    presence: PresenceInputs | None
    broker: str | None
    poll_ms: int
    observe_ms: int
    profiles: PurePosixPath
    state: PurePosixPath
    file: str = ""
    realtime: Realtime = Realtime.IF_PERMITTED
    realtime_priority: int = 10
    guard_state: PurePosixPath | None = None
    other_brokers: tuple[str, ...] = ()

    @property
    def brokers(self) -> tuple[str, ...]:
        """Every broker, in the order they are tried; none without a fleet."""
        return () if self.broker is None else (self.broker, *self.other_brokers)

    @property
    def guards_folder(self) -> PurePosixPath:
        """Where the guard keeps its database, its keys and its socket."""
        return self.guard_state or self.state
