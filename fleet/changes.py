"""What has become durable, told by the writer to the event loop in the order of the commit."""

from dataclasses import dataclass

from agent.wire.messages import Birth, Heartbeat, StreamHead
from fleet.answers import CommandAnswer, EventAnswer
from fleet.registry import Latch, Point


@dataclass(frozen=True, slots=True)
class Born:
    """A gateway introduced itself."""

    birth: Birth
    at_ms: int


@dataclass(frozen=True, slots=True)
class Beaten:
    """A gateway is still there."""

    heartbeat: Heartbeat
    at_ms: int


@dataclass(frozen=True, slots=True)
class Followed:
    """A gateway told which manager's state it heard last, whatever else of its message counts."""

    message: Birth | Heartbeat


@dataclass(frozen=True, slots=True)
class Died:
    """Its broker says that a gateway is gone."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Sampled:
    """New values, in order: (equipment, name, value)."""

    gateway: str
    values: list[tuple[str, str, Point]]


@dataclass(frozen=True, slots=True)
class Latched:
    """A latch was set, or with None cleared."""

    gateway: str
    equipment: str
    latch: Latch | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A stream stands here now."""

    gateway: str
    head: StreamHead


@dataclass(frozen=True, slots=True)
class Held:
    """A stream was stopped, or with an empty reason goes on."""

    gateway: str
    stream: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Messages in this gateway's name (empty: in nobody's) were not believed or not understood."""

    gateway: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Happened:
    """An event was stored."""

    event: EventAnswer


@dataclass(frozen=True, slots=True)
class Concluded:
    """A command of ours took a step."""

    command: CommandAnswer


@dataclass(frozen=True, slots=True)
class AckDue:
    """Tell this gateway where its streams stand.

    Args:
        sealed: the signed ``Ack``.
    """

    gateway: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Reread:
    """Something was missed while another manager stored it: the store knows more than we do."""


Change = (
    Born
    | Beaten
    | Followed
    | Died
    | Sampled
    | Latched
    | Stored
    | Held
    | Rejected
    | Happened
    | Concluded
    | AckDue
    | Reread
)
