"""Topics: a flat tree of fixed depth. The receiver rebuilds the signature's context from the topic alone.

armoire/1/<city>/<gateway>/up/{birth,alarm,state,tele,audit,safety,result,death}
armoire/1/<city>/<gateway>/down/{ack,desired,cmd,keys,roll}
armoire/1/<city>/fleet/state
"""

from dataclasses import dataclass

from agent.model.identity import CityId, GatewayId, is_id
from agent.wire.errors import TopicError

ROOT = "armoire/1"
STREAMS = ("alarm", "state", "tele", "audit", "safety")
UP = ("birth", *STREAMS, "result", "death")
DOWN = ("ack", "desired", "cmd", "keys", "roll")
_CLASSES = {"up": UP, "down": DOWN}


@dataclass(frozen=True, slots=True)
class Topic:
    """Where a message belongs. ``gateway`` is ``fleet`` for the fleet's own state.

    Args:
        direction: ``up`` or ``down``; ``fleet`` for the fleet's state.
        message_class: the last level.
    """

    city: CityId
    gateway: GatewayId
    direction: str
    message_class: str

    def __str__(self) -> str:
        if self.direction == "fleet":
            return f"{ROOT}/{self.city}/fleet/{self.message_class}"
        return f"{ROOT}/{self.city}/{self.gateway}/{self.direction}/{self.message_class}"

    @property
    def aad(self) -> bytes:
        """The COSE ``external_aad``: a message copied to another topic fails its signature."""
        return f"arm1|{self.city}|{self.gateway}|{self.direction}|{self.message_class}".encode()


def up(city: CityId, gateway: GatewayId, message_class: str) -> Topic:
    """A topic this gateway publishes on."""
    assert message_class in UP
    return Topic(city, gateway, "up", message_class)


def down(city: CityId, gateway: GatewayId, message_class: str) -> Topic:
    """A topic this gateway listens on."""
    assert message_class in DOWN
    return Topic(city, gateway, "down", message_class)


def fleet_state(city: CityId) -> Topic:
    """The fleet's retained state."""
    return Topic(city, GatewayId("fleet"), "fleet", "state")


def parse(text: str) -> Topic:
    """Read a topic as it came from the broker.

    Raises:
        TopicError: outside the tree.
    """
    match text.split("/"):
        case ["armoire", "1", city, "fleet", "state"] if is_id(city):
            return fleet_state(CityId(city))
        case ["armoire", "1", city, gateway, ("up" | "down") as direction, name] if (
            is_id(city) and is_id(gateway) and gateway != "fleet" and name in _CLASSES[direction]
        ):
            return Topic(CityId(city), GatewayId(gateway), direction, name)
    raise TopicError(f"not a topic of ours: {text[:120]!r}")
