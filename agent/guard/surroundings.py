"""What holds for the whole cabinet: is the fleet there, is somebody at the open door, what was commanded of late."""

from collections.abc import Iterator

from agent.model.command import Command, RequestFlash
from agent.model.identity import EquipmentId
from agent.model.observation import Presence
from agent.model.site import Site
from agent.process.clock import Clock
from agent.safety.budget import spend
from agent.safety.case import PRESENCE_AGE_MS_MAX
from agent.safety.mode import Mode, ModeEntry
from agent.safety.standing import Spent
from agent.wire.errors import TopicError
from agent.wire.gate import revoked
from agent.wire.leadership import Leadership
from agent.wire.messages import Ack
from agent.wire.sealing import open_ack, open_state
from agent.wire.topics import parse
from agent.wire.trust import KeyRing


class Surroundings:
    """Fleet and presence, as the guard itself has verified them.

    The agent only carries fleet messages: each is opened here, and a replayed one does not count as the fleet's voice.
    """

    def __init__(self, site: Site, ring: KeyRing, clock: Clock, *, fleet_expected: bool) -> None:
        self._site = site
        self._ring = ring
        self._clock = clock
        self._fleet_expected = fleet_expected
        self._leadership = Leadership()
        self.started_ms = clock.now_ms()
        self.presence: Presence | None = None
        self.uncommissioned = ""
        self._is_key_turned = False
        self._is_key_read = False
        self._has_tag_switch = False
        self._untagged_at_ms: int | None = None
        self.spent: Spent = ()
        self._flash_at_ms: dict[EquipmentId, int] = {}

    def use(self, ring: KeyRing) -> None:
        """Believe by another key list from now on."""
        self._ring = ring

    def revoked(self, command: Command) -> str:
        """Why nothing may be held by this command any more (SR-25); empty if each of its keys could still sign it."""
        time = self._clock.read()
        why = revoked(self._ring, command, self._site.gateway, time.known_ms, time.earliest_ms)
        return f"SR-25: {why}" if why else ""

    def spend(self, command: Command, at_ms: int) -> None:
        """Count one command that is carried out or tried (SR-14, SR-25), of a person or of the observer.

        Args:
            at_ms: monotonic; of a flash remembered over a restart it may lie before the start.
        """
        self.spent = spend(self.spent, command, at_ms)
        if isinstance(command, RequestFlash):
            self._flash_at_ms[command.equipment] = at_ms

    def flash_at_ms(self, equipment: EquipmentId) -> int | None:
        """When flash was last requested there, by whomever; None if never."""
        return self._flash_at_ms.get(equipment)

    def see(self, presence: Presence | None) -> None:
        """Take a reading of door and key; None if they could not be read."""
        self.presence = presence

    def see_key(self, is_turned: bool | None) -> None:
        """Take a reading of the local key; None if it could not be read: whoever turned it still has their hands in there."""
        self._is_key_read = is_turned is not None
        if is_turned is not None:
            self._is_key_turned = is_turned

    def expect_tag(self) -> None:
        """This cabinet has a tag-out switch: it counts as locked until it is read as free, and when it falls silent."""
        self._has_tag_switch = True

    def see_tag(self, is_out: bool, at_ms: int) -> None:
        """Take a reading of the tag-out switch."""
        self._untagged_at_ms = None if is_out else at_ms

    def fleet_message(self, topic_text: str, sealed: bytes) -> Ack | None:
        """Take a fleet message; return it if it is an ack for this gateway.

        Raises:
            WireError, TrustError: not believed; nothing changed.
        """
        topic = parse(topic_text)
        time = self._clock.read()
        unix_ms = time.known_ms
        if topic.city != self._site.city:
            raise TopicError(f"not for this guard: {topic}")
        if topic.direction == "fleet":
            state = open_state(self._ring, sealed, topic, unix_ms)
            self._leadership.receive(state, time.now_ms, unix_ms, time.earliest_ms)
            self._clock.hear(state.issued_ms, is_live=self._leadership.heard_at_ms == time.now_ms)
            return None
        if (topic.gateway, topic.message_class) != (self._site.gateway, "ack"):
            raise TopicError(f"not for this guard: {topic}")
        ack = open_ack(self._ring, sealed, topic, unix_ms)
        return ack if self._leadership.accepts(ack.term) else None

    @property
    def fleet(self) -> str:
        """``none`` if no broker is configured, else ``up``, ``silent``, or after a start ``awaited``: it has its time yet."""
        if not self._fleet_expected:
            return "none"
        heard_at_ms = self._leadership.heard_at_ms
        since_ms = self.started_ms if heard_at_ms is None else heard_at_ms
        if self._clock.now_ms() - since_ms > self._site.fleet_silence_ms:
            return "silent"
        return "awaited" if heard_at_ms is None else "up"

    def modes(self) -> Iterator[ModeEntry]:
        """Every mode that holds for the whole cabinet, and why."""
        if self.uncommissioned:
            cause = f"site not commissioned: {self.uncommissioned}"
            yield ModeEntry(Mode.HELD, cause, "armoire commission sign, then restart", "SR-30")
        now_ms = self._clock.now_ms()
        untagged_at_ms = self._untagged_at_ms
        if self._has_tag_switch and (untagged_at_ms is None or now_ms - untagged_at_ms > PRESENCE_AGE_MS_MAX):
            cause = "the cabinet is tagged out, or its tag-out switch cannot be read"
            yield ModeEntry(Mode.LOCAL, cause, "taking the lock out of the tag-out switch")
        if self._is_key_turned:
            cause = "the local key is turned at the cabinet"
            if not self._is_key_read:
                cause = "the local key was turned at the cabinet when it could last be read"
            yield ModeEntry(Mode.LOCAL, cause, "turning the key back")
        if self.fleet == "silent":
            yield ModeEntry(Mode.AUTONOMOUS, "SR-11: the fleet is silent", "the fleet's next signed state")
