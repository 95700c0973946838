"""Whom the courier carries for: says who this gateway is, and takes what the fleet commands."""

from collections.abc import Callable

from agent.model.site import Site
from agent.process.clock import Clock
from agent.process.gatekeeper import Gatekeeper
from agent.runtime.desired import DesiredState
from agent.runtime.desk import card_of
from agent.runtime.gatewaykeys import GatewayKeys
from agent.runtime.guardmirror import GuardMirror
from agent.runtime.journal import Journal
from agent.runtime.recorder import Recorder
from agent.runtime.routing import Router
from agent.wire.errors import TopicError
from agent.wire.local import OutcomeIs
from agent.wire.messages import Birth, Heartbeat, IssuerCounter, StreamHead
from agent.wire.rejections import Notice
from agent.wire.topics import Topic, down, parse

SOFTWARE = "armoire 0.1.0"
GUARD_FRESH_MS = 20_000  # an older nonce of the guard's would be refused there anyway


class Principal:
    """Implements ``agent.runtime.carried.Carried``."""

    def __init__(
        self,
        site: Site,
        gatekeeper: Gatekeeper,
        router: Router,
        guard: GuardMirror | None,
        journal: Journal,
        recorder: Recorder,
        modes: Callable[[], dict[str, str]],
        clock: Clock,
        desired: DesiredState,
        keys: GatewayKeys,
    ) -> None:
        self._site = site
        self._gatekeeper = gatekeeper
        self._router = router
        self._guard = guard
        self._journal = journal
        self._recorder = recorder
        self._modes = modes
        self._desired = desired
        self._clock = clock
        self._keys = keys
        self._command_topic = down(site.city, site.gateway, "cmd")

    async def birth(self, conn: int, heads: list[StreamHead], floors: list[StreamHead]) -> Birth:
        """Who this gateway is and where its streams stand."""
        counters = dict(self._journal.counters)
        if self._guard is not None and self._guard.status is not None:
            for kid, counter in self._guard.status.counters.items():
                counters[kid] = max(counter, counters.get(kid, 0))
        return Birth(
            gateway=self._site.gateway,
            conn=conn,
            name=self._site.name,
            t_ms=self._clock.unix_ms(),
            clock=self._clock.quality(),
            nonces=self._nonces(),
            counters=[IssuerCounter(kid, counter) for kid, counter in counters.items()],
            heads=heads,
            equipment=[card_of(equipment) for equipment in self._site.equipment.values()],
            software=SOFTWARE,
            floors=floors,
            desired=self._desired.report(),
            key_list=self._keys.version,
        )

    async def heartbeat(self, conn: int, beat: int, heads: list[StreamHead]) -> Heartbeat:
        """Still here, with fresh nonces, and what the fleet should hold by now."""
        return Heartbeat(
            gateway=self._site.gateway,
            conn=conn,
            beat=beat,
            t_ms=self._clock.unix_ms(),
            clock=self._clock.quality(),
            nonces=self._nonces(),
            modes=self._modes(),
            heads=heads,
            unsealed=self._recorder.unsealed,
            desired=self._desired.report(),
            key_list=self._keys.version,
        )

    async def command(self, sealed: bytes, topic: str) -> bytes | None:
        """Have a sealed command judged and carried out by whoever owns the equipment."""
        try:
            if parse(topic) != self._command_topic:
                return None
        except TopicError:
            return None
        reply = await self._router.submit(sealed)
        return reply.sealed if isinstance(reply, OutcomeIs) and reply.sealed else None

    async def key_list(self, sealed: bytes) -> None:
        """Take a key list over; what is refused is told by whom it is taken.

        Raises:
            KeyListError: it was not taken.
        """
        await self._keys.take(sealed)

    async def desired(self, topic: Topic, sealed: bytes) -> None:
        """Take in a desired state if it is newer.

        Raises:
            WireError, TrustError: it is not to be believed, or not newer.
        """
        self._desired.receive(topic, sealed)

    async def link_changed(self, text: str, *, is_up: bool) -> None:
        """Say in the alarm stream that the connection came or went."""
        self._recorder.event("alarm", "fleet.link-up" if is_up else "fleet.link-lost", "", "", text)

    def rejected(self, notice: Notice) -> None:
        """Say in the audit stream what was not believed; at most once a minute for each topic."""
        self._recorder.event("audit", "messages.rejected", "", "", notice.text, {**notice.counts})

    def _nonces(self) -> dict[str, bytes]:
        now_ms = self._clock.now_ms()
        nonces = {"agent": self._gatekeeper.nonce(now_ms)}
        guard = self._guard
        if guard is not None and guard.is_up and guard.status is not None and guard.seen_at_ms is not None:
            is_fresh = now_ms - guard.seen_at_ms < GUARD_FRESH_MS
            nonces |= {"guard": guard.status.nonce} if is_fresh else {}
        return nonces
