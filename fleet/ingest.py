"""From bytes on a topic to rows and answers: verify, decode, order. Runs in the writer's thread, inside its transaction.

Whatever is wrong with one message is counted and left; its neighbours go on. Nothing is acknowledged here: the writer
commits first, then calls ``committed``.
"""

from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy import Connection

from agent.model.identity import CityId, GatewayId
from agent.wire import topics
from agent.wire.envelope import digest
from agent.wire.errors import MessageError, TrustError, WireError
from agent.wire.fleetlog import RESULT, link_entry, other_entry
from agent.wire.keyfile import Signer
from agent.wire.messages import ENDED, SCHEMA, Ack, Batch, Event, Outcome, StreamHead, Value, decode, encode
from agent.wire.receiving import Fate, Received
from agent.wire.rejections import THROTTLED, Rejections
from agent.wire.sealing import open_batch
from agent.wire.topics import STREAMS, Topic
from agent.wire.trust import KeyRing, Opened
from fleet import changes, command_rows, event_rows, presence, unpacking
from fleet.arrival import Arrival, Places
from fleet.changes import Change
from fleet.command_rows import Conclusion
from fleet.errors import SigningError
from fleet.rows import Rows
from fleet.standing import Known, Standing
from fleet.tally import Tally

REBIRTH_PERIOD_MS = 10_000
"""At most one request to introduce itself per gateway and 10 s: a request lost is asked again, a deaf one not hammered."""
QUARANTINE_PER_RUN_MAX = 1_000
"""Unreadable messages kept for a later version, per start of the manager; the gateway keeps them too."""
NOBODY = ""
SAFETY = "safety"
"""The guard's stream. What a birth says of it is the agent's word, and the agent cannot speak for it."""
RECORDED_BY = {SAFETY: "guard", "audit": "agent"}
"""Streams in which each executor seals how commands ended."""
EPOCHS_AHEAD_MAX = 1_000
EPOCH_AHEAD_S_MAX = 365 * 86_400
"""Epochs are Unix seconds or the next number. One far above both would leave no room for those to come."""


class Ingest:
    """Judges messages.

    Args:
        signer: the director's key, for acks.
    """

    def __init__(self, city: CityId, ring: KeyRing, signer: Signer, standing: Standing, term: int) -> None:
        self.city = city
        self.ring = ring
        self.standing = standing
        self.term = term
        self.tally = Tally()
        self.is_storing = True
        self._signer = signer
        self._rejections = Rejections()
        self._quarantined: set[bytes] = set()
        self._refused: set[bytes] = set()
        self._unsigned: set[str] = set()
        self._held: dict[tuple[str, str], str] = {}
        self._told: dict[tuple[str, str], str] = {}
        self._places = Places(city, ring)
        self._begin()

    def _begin(self) -> None:
        self._rows = Rows()
        self._changes: list[Change] = []
        self._to_acknowledge: set[str] = set()
        self._rebirths: set[str] = set()
        self._rejected: dict[tuple[str, str], int] = {}

    def lead(self, term: int) -> None:
        """Acknowledge under another term from now on. What was asked under the old one was not believed."""
        self.term = term
        for known in list(self.standing.gateways.values()):  # The writer's thread may add to it meanwhile.
            known.rebirth_asked_ms = 0

    def use(self, ring: KeyRing) -> None:
        """Believe another key list from now on."""
        self.ring = ring
        self._places.use(ring)

    def refuse(self, arrival: Arrival) -> bool:
        """Judge these bytes as malformed from now on, whatever is in them; False if they were already."""
        key = digest(arrival.data)
        is_new = key not in self._refused
        self._refused.add(key)
        return is_new

    def take(self, arrivals: Iterable[Arrival], connection: Connection, now_ms: int) -> None:
        """Judge some messages and write what they bring into the open transaction."""
        self._begin()
        for arrival in arrivals:
            self._receive(arrival, connection, now_ms)
        self._count_rejections(now_ms)
        if self.is_storing:  # Else another manager does, in the store we share.
            self._rows.write(connection)
            self.standing.log.write(connection)
        self._changes += self.standing.redated(connection if self.is_storing else None)

    def committed(self, now_ms: int) -> list[Change]:
        """The transaction is durable: return what it changed, and the acks that may now be said."""
        self.standing.inbound.committed()
        self.standing.log.committed()
        told = self._changes
        self._unsigned |= self._to_acknowledge | self._rebirths
        try:
            for gateway in sorted(self._unsigned):
                told.append(changes.AckDue(gateway, self._ack(gateway, now_ms)))
                self._unsigned.discard(gateway)
        except SigningError:
            pass  # Told where the key is. The rest is acknowledged with the first commit after it signs again.
        self._begin()
        return told

    def rolled_back(self, standing: Standing) -> None:
        """The transaction is void: go on from what the database holds."""
        self.standing = standing
        self._held.clear()
        self._told.clear()
        self._quarantined.clear()
        self._begin()

    def _ack(self, gateway: str, now_ms: int) -> bytes:
        """Where all its streams stand, so that a newer ack says everything an older one did."""
        heads = self.standing.inbound.acks(gateway)
        is_rebirth = gateway in self._rebirths
        ack = Ack(SCHEMA, gateway, self.term, heads, is_rebirth)
        sealed = self._signer.seal(encode(ack), topics.down(self.city, GatewayId(gateway), "ack"))
        if is_rebirth:
            self.standing.known(gateway).rebirth_asked_ms = now_ms
        return sealed

    def _receive(self, arrival: Arrival, connection: Connection, now_ms: int) -> None:
        gateway = place = NOBODY
        self.tally.bytes += len(arrival.data)
        try:
            topic = self._places.topic(arrival.topic)
            gateway, place = topic.gateway, arrival.topic
            if self._refused and digest(arrival.data) in self._refused:
                raise MessageError("the database will not have it")
            if not self._rejections.may_judge(place, now_ms):
                self._count(gateway, THROTTLED, f"{place}: too much that was not believed", now_ms)
            elif topic.message_class in STREAMS:
                self._link(topic, arrival, connection, now_ms)
            elif topic.message_class == "result":
                self._result(topic, arrival.data, connection, now_ms)
            else:
                self._presence(topic, arrival.data, now_ms)
        except (WireError, TrustError) as error:
            self._rejections.rejected(place, error.reason, str(error), now_ms)
            self._count(gateway, error.reason, str(error), now_ms)

    def _link(self, topic: Topic, arrival: Arrival, connection: Connection, now_ms: int) -> None:
        data = arrival.data
        try:
            opened = open_batch(self.ring, data, topic, now_ms, is_checked=arrival.checked_by is self.ring)
        except MessageError as error:
            self._quarantine(topic, data, error, now_ms)
            raise
        batch = opened.batch
        known = self.standing.known(batch.gateway)
        if self._is_absurd(batch.gateway, batch.stream, batch.epoch, now_ms):
            self._to_acknowledge.add(batch.gateway)
            return
        received = self.standing.inbound.receive(batch, opened.digest)
        match received.fate:
            case Fate.STORE:
                self._store(known, batch, data, received, now_ms)
                entry = link_entry(batch.gateway, batch.stream, batch.epoch, batch.seq, now_ms, opened.digest)
                self.standing.log.append(entry, self.standing.link_no)
                for event in batch.events:
                    self._recorded(batch, event, connection, now_ms)
            case Fate.DUPLICATE:
                self.tally.duplicates += 1
            case Fate.AHEAD:
                self.tally.ahead += 1
            case Fate.FORKED | Fate.STALE:
                self._hold(batch, received, now_ms)
        self._to_acknowledge.add(batch.gateway)
        if not known.conn:
            self._ask_rebirth(batch.gateway, known, now_ms)

    def _store(self, known: Known, batch: Batch, data: bytes, received: Received, now_ms: int) -> None:
        self.standing.link_no += 1
        number, head = self.standing.link_no, received.head
        self._rows.links.append((number, known.no, batch.stream, head.epoch, head.seq, head.hash, now_ms, data))
        self._rows.heads[known.no, batch.stream] = (known.no, batch.stream, head.epoch, head.seq, head.hash)
        if not known.conn:  # Not introduced yet; its number must be on disk with the rows that use it.
            presence.keep(known, batch.gateway, self._rows)
        self._changes.append(changes.Stored(batch.gateway, head))
        if self._held.pop((batch.gateway, batch.stream), None):
            self._changes.append(changes.Held(batch.gateway, batch.stream, ""))
        if batch.points:
            values = unpacking.samples(batch, known, number, self.standing, self._rows)
            self._changes.append(changes.Sampled(batch.gateway, values))
        told, marks = unpacking.events(batch, known, number, self.standing, self._rows, now_ms)
        self._changes += told
        if marks:
            self._count(batch.gateway, "mark", f"{batch.stream}: more marks of the time than are kept", now_ms, marks)
        if received.is_new_epoch:
            text = f"stream {batch.stream} begins epoch {batch.epoch}: its journal was lost, restored or forked"
            self._happened(batch.gateway, "stream.epoch", text, now_ms)
        self.tally.batches += 1
        self.tally.samples += len(batch.points)
        self.tally.events += len(batch.events)

    def _is_absurd(self, gateway: str, stream: str, epoch: int, now_ms: int) -> bool:
        """Refuse an epoch that no gateway reaches by itself: hold the stream, tell somebody."""
        held = self.standing.inbound.head(gateway, stream)
        is_far = epoch > (held.epoch if held else 0) + EPOCHS_AHEAD_MAX
        if not is_far or epoch <= now_ms // 1000 + EPOCH_AHEAD_S_MAX:
            return False
        reason = f"epoch {epoch} is far above {held.epoch if held else 0} and above the time: not believed"
        self._count(gateway, "epoch", f"{stream}: {reason}", now_ms)
        self._stop(gateway, stream, "epoch.refused", reason, now_ms)
        return True

    def _believed(self, gateway: str, told: Iterable[StreamHead], now_ms: int) -> Iterator[StreamHead]:
        """What a birth, signed by the agent, may say of where streams stand: nothing of the guard's."""
        for head in told:
            is_agents = head.stream in STREAMS and head.stream != SAFETY
            if is_agents and not self._is_absurd(gateway, head.stream, head.epoch, now_ms):
                yield head

    def _hold(self, batch: Batch, received: Received, now_ms: int) -> None:
        """A stream that forked, or an old copy of it: keep what we have, tell somebody."""
        is_fork = received.fate is Fate.FORKED
        self._count(batch.gateway, received.fate.value, f"{batch.stream}: {received.reason}", now_ms)
        if is_fork:
            self._stop(batch.gateway, batch.stream, "fork.detected", received.reason, now_ms)
        else:
            self._tell_once(batch.gateway, batch.stream, "clone.suspected", received.reason, now_ms)

    def _stop(self, gateway: str, stream: str, kind: str, reason: str, now_ms: int) -> None:
        if self._held.get((gateway, stream)) != reason:
            self._held[gateway, stream] = reason
            self._changes.append(changes.Held(gateway, stream, reason))
            self._tell_once(gateway, stream, kind, reason, now_ms)

    def _tell_once(self, gateway: str, stream: str, kind: str, reason: str, now_ms: int) -> None:
        """What repeats with every retransmission is one event until something else happens to the stream."""
        if self._told.get((gateway, stream)) != reason:
            self._told[gateway, stream] = reason
            self._happened(gateway, kind, f"stream {stream}: {reason}", now_ms)

    def _presence(self, topic: Topic, data: bytes, now_ms: int) -> None:
        opened = self._open(topic, data, now_ms)
        try:
            message = presence.read(topic, opened.payload)
        except MessageError as error:
            self._quarantine(topic, data, error, now_ms)
            raise
        known = self.standing.known(topic.gateway)
        told = presence.receive(message, known, self._rows, now_ms)
        self._changes += told.changes
        for head in self._believed(topic.gateway, told.heads, now_ms):
            self.standing.inbound.announced(topic.gateway, head)
        for floor in self._believed(topic.gateway, told.floors, now_ms):
            if self.standing.inbound.adopt(topic.gateway, floor):
                self._rows.heads[known.no, floor.stream] = (known.no, floor.stream, floor.epoch, floor.seq, floor.hash)
                text = f"stream {floor.stream} goes on after {floor.seq}: what was before is kept by neither side"
                self._happened(topic.gateway, "stream.lost", text, now_ms)
        if told.text:
            self._happened(topic.gateway, told.kind, told.text, now_ms)
        if told.is_rebirth_wanted:
            self._ask_rebirth(topic.gateway, known, now_ms)
        if told.is_birth or presence.is_missing(message, self.standing.inbound):
            self._to_acknowledge.add(topic.gateway)

    def _result(self, topic: Topic, data: bytes, connection: Connection, now_ms: int) -> None:
        opened = self._open(topic, data, now_ms)
        try:
            outcome = decode(opened.payload, Outcome)
        except MessageError as error:
            self._quarantine(topic, data, error, now_ms)
            raise
        if outcome.gateway != topic.gateway or outcome.ended not in ENDED:
            raise MessageError(f"an outcome {outcome.ended} of {outcome.gateway} on {topic}")
        is_executors = opened.role == self._executor(topic.gateway, outcome.equipment)
        conclusion = command_rows.conclude(connection, outcome, opened.kid, data, now_ms, is_executors=is_executors)
        if conclusion.is_kept:
            command, who = outcome.command_id, opened.kid
            entry = other_entry(RESULT, now_ms, opened.digest, gateway=topic.gateway, name=command, who=who)
            self.standing.log.append(entry, self.standing.link_no, command)
        self._conclude(outcome, opened.kid, conclusion, now_ms)

    def _recorded(self, batch: Batch, event: Event, connection: Connection, now_ms: int) -> None:
        """A sealed record of how a command ended counts like its result, which may have been lost on the way."""
        kind, _, ended = event.kind.partition(".")
        recorder = RECORDED_BY.get(batch.stream)
        if not self.is_storing:
            return
        if kind != "command" or ended not in ENDED or recorder != self._executor(batch.gateway, event.equipment):
            return
        command, verb, issuer, state = (event.detail.get(name) for name in ("command", "verb", "issuer", "state"))
        if not (isinstance(command, str) and isinstance(verb, str)):
            return
        reason = event.text.removeprefix(f"{verb}: ")
        outcome = Outcome(
            SCHEMA, command, batch.gateway, event.equipment, verb, str(issuer), ended, event.rule, reason,
            str(state or ""), max(0, batch.t0_ms + event.dt_ms),
        )  # fmt: skip
        conclusion = command_rows.end(connection, outcome, now_ms)
        if conclusion.command is not None:  # A command from elsewhere is an event already: this record.
            self._conclude(outcome, batch.stream, conclusion, now_ms)

    def _executor(self, gateway: str, equipment: str) -> str:
        """Who judges commands to it. What takes none, or is not known, is the agent's to refuse."""
        return self.standing.known(gateway).executors.get(equipment) or "agent"

    def _conclude(self, outcome: Outcome, by: str, conclusion: Conclusion, now_ms: int) -> None:
        """Tell what an outcome changed.

        Args:
            by: the key or the stream that says so.
        """
        gateway = outcome.gateway
        match conclusion:
            case Conclusion(is_contradicting=True):
                text = f"{by} says {outcome.ended} of {outcome.verb}, which is not for it to say; nothing was ended"
                self._happened(gateway, "command.contradicting-result", text, now_ms, equipment=outcome.equipment)
            case Conclusion(command=None, is_new=True):
                detail: dict[str, Value] = {"command": outcome.command_id, "issuer": outcome.issuer}
                text = f"{outcome.verb} by {outcome.issuer}: {outcome.ended}. {outcome.reason}"
                self._happened(
                    gateway, "command.elsewhere", text, now_ms,
                    equipment=outcome.equipment, rule=outcome.rule, detail=detail,
                )  # fmt: skip
            case Conclusion(command=command) if command is not None:
                if conclusion.is_late:
                    text = f"{outcome.verb} of {command.operator} was unknown; the cabinet now says {outcome.ended}"
                    self._happened(gateway, "command.late-result", text, now_ms, equipment=outcome.equipment)
                self._changes.append(changes.Concluded(command))

    def _open(self, topic: Topic, data: bytes, now_ms: int) -> Opened:
        return self.ring.open(data, topic, "up", now_ms)

    def _ask_rebirth(self, gateway: str, known: Known, now_ms: int) -> None:
        if now_ms - known.rebirth_asked_ms >= REBIRTH_PERIOD_MS:
            self._rebirths.add(gateway)

    def _quarantine(self, topic: Topic, data: bytes, error: MessageError, now_ms: int) -> None:
        """Authentic, but we cannot read it: a later version may. Its stream waits, the others do not."""
        if topic.message_class in STREAMS:
            self._stop(topic.gateway, topic.message_class, "quarantine", str(error), now_ms)
        else:
            self._tell_once(topic.gateway, topic.message_class, "quarantine", str(error), now_ms)
        key = digest(data)
        if len(self._quarantined) < QUARANTINE_PER_RUN_MAX and key not in self._quarantined:
            self._quarantined.add(key)
            row = (topic.gateway, key, topic.message_class, now_ms, event_rows.clean(str(error)), data)
            self._rows.quarantine.append(row)

    def _count(self, gateway: str, reason: str, text: str, now_ms: int, times: int = 1) -> int:
        """Count one rejection or more; return how many there are by now."""
        key = (gateway, reason)
        count = self.standing.rejections[key] = self.standing.rejections.get(key, 0) + times
        self._rejected[key] = self._rejected.get(key, 0) + times
        self._rows.rejections[key] = (gateway, reason, count, now_ms, event_rows.clean(text)[:500])
        return count

    def _count_rejections(self, now_ms: int) -> None:
        for notice in self._rejections.notices(now_ms):
            gateway = topics.parse(notice.topic).gateway if notice.topic else NOBODY
            self._happened(gateway, "messages.rejected", notice.text, now_ms, detail=notice.counts)
        self._changes += (
            changes.Rejected(gateway, reason, count) for (gateway, reason), count in self._rejected.items()
        )

    def _happened(
        self,
        gateway: str,
        kind: str,
        text: str,
        now_ms: int,
        *,
        equipment: str = "",
        rule: str = "",
        detail: Mapping[str, Value] | None = None,
    ) -> None:
        """Something the manager itself noticed."""
        self.standing.event_no += 1
        event = event_rows.noticed(
            self.standing.event_no, gateway, kind, text, now_ms, equipment=equipment, rule=rule, detail=detail
        )
        self._rows.events.append(event_rows.to_row(event))
        self._changes.append(changes.Happened(event))
