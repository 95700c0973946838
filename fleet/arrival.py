"""What arrives, and on which topics it may."""

from dataclasses import dataclass

from agent.model.identity import CityId
from agent.wire import topics
from agent.wire.errors import CapabilityError, TopicError
from agent.wire.topics import Topic
from agent.wire.trust import KeyRing


@dataclass(slots=True)
class Arrival:
    """One message as the broker delivered it.

    Args:
        checked_by: the key ring under which its signature was found good already, if it was.
    """

    topic: str
    data: bytes
    checked_by: KeyRing | None = None


class Places:
    """The topics of a city's gateways. Each is read once: a gateway has eight, and says thousands of messages on them."""

    def __init__(self, city: CityId, ring: KeyRing) -> None:
        self._city = city
        self.use(ring)

    def use(self, ring: KeyRing) -> None:
        """Know another key list's gateways from now on."""
        self._version = ring.version
        self._members = frozenset(entry.subject for entry in ring.entries() if entry.role == "agent")
        self._known: dict[str, Topic] = {}

    def topic(self, text: str) -> Topic:
        """Read a topic.

        Raises:
            TopicError, CapabilityError: not one on which a gateway of ours speaks.
        """
        if (known := self._known.get(text)) is not None:
            return known
        topic = topics.parse(text)
        if topic.city != self._city or topic.direction != "up":
            raise TopicError(f"not for us: {topic}")
        if topic.gateway not in self._members:
            raise CapabilityError(f"no gateway {topic.gateway} in key list {self._version}")
        self._known[text] = topic
        return topic
