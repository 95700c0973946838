"""Is a gateway there: births, heartbeats and deaths, matched by connection number.

A will can overtake a birth or trail it, and a captured message can be played again, so nothing from before what was
last heard counts.
"""

from dataclasses import dataclass, field

import msgspec

from agent.model.observation import ClockQuality
from agent.wire.errors import MessageError
from agent.wire.messages import Birth, Death, EquipmentCard, Heartbeat, StreamHead, decode, decode_birth
from agent.wire.receiving import Inbound
from agent.wire.topics import Topic
from fleet import changes
from fleet.arrears import holds
from fleet.changes import Change
from fleet.engine import Row
from fleet.event_rows import clean
from fleet.registry import LINK_LOST_AFTER_MS
from fleet.rows import Rows
from fleet.standing import Known


@dataclass(slots=True)
class Told:
    """What one message about presence means.

    Args:
        heads: where its streams end, as far as it said so. floors: what it no longer keeps, for streams we hold less of.
        text: worth an event of this kind, unless empty.
    """

    changes: list[Change] = field(default_factory=list)
    heads: list[StreamHead] = field(default_factory=list)
    floors: list[StreamHead] = field(default_factory=list)
    kind: str = ""
    text: str = ""
    is_birth: bool = False
    is_rebirth_wanted: bool = False


def read(topic: Topic, payload: bytes) -> Birth | Heartbeat | Death:
    """Decode what arrived on ``up/birth`` or ``up/death``.

    Raises:
        MessageError: it is not that, or of another gateway.
    """
    message = decode(payload, Death) if topic.message_class == "death" else decode_birth(payload)
    if message.gateway != topic.gateway:
        raise MessageError(f"a message of {message.gateway} on {topic}")
    return message


def receive(message: Birth | Heartbeat | Death, known: Known, rows: Rows, now_ms: int) -> Told:
    """Take in one verified message."""
    if isinstance(message, Death):
        return _death(message, known, rows)
    if isinstance(message, Birth):
        told = _birth(message, known, rows, now_ms)
    else:
        told = _heartbeat(message, known, rows, now_ms)
    told.changes.append(changes.Followed(message))
    return told


def is_missing(message: Birth | Heartbeat | Death, inbound: Inbound) -> bool:
    """True if a heartbeat names links we do not hold: a stream with nothing to send learns that from an ack only."""
    if not isinstance(message, Heartbeat):
        return False
    return not all(holds(inbound.head(message.gateway, head.stream), head) for head in message.heads)


def keep(known: Known, gateway: str, rows: Rows) -> None:
    """Write the gateway's row."""
    rows.gateways[gateway] = (
        known.no,
        gateway,
        clean(known.name),
        clean(known.software),
        known.conn,
        known.beat,
        known.is_connected,
        known.seen_ms,
        known.told_ms,
    )


def _birth(birth: Birth, known: Known, rows: Rows, now_ms: int) -> Told:
    told = Told(is_birth=True)
    if birth.conn == known.conn and (birth.t_ms < known.told_ms or birth == known.birth):
        return told  # Said before what we know by now: a copy that somebody kept is no sign of life.
    if birth.conn < known.conn:
        if not _may_restart(birth, known, now_ms):
            return Told(kind="clone.suspected", text=_older(birth.conn, known)) if _is_up(known, now_ms) else Told()
        told.kind = "gateway.renumbered"
        told.text = f"connection {birth.conn} after {known.conn}: its database was lost or restored"
    if birth.conn != known.conn:
        known.beat = 0
    known.birth, known.conn, known.name, known.software = birth, birth.conn, birth.name, birth.software
    known.is_connected, known.seen_ms, known.told_ms = True, now_ms, birth.t_ms
    known.executors = {card.id: card.executor for card in birth.equipment}
    known.rebirth_asked_ms = 0
    keep(known, birth.gateway, rows)
    cards = {card.id: card for card in birth.equipment}
    rows.replace_equipment(birth.gateway, [_row(birth.gateway, n, card) for n, card in enumerate(cards.values())])
    told.changes.append(changes.Born(birth, now_ms))
    told.heads, told.floors = list(birth.heads), list(birth.floors)
    return told


def _heartbeat(heartbeat: Heartbeat, known: Known, rows: Rows, now_ms: int) -> Told:
    if heartbeat.conn < known.conn or (heartbeat.conn == known.conn and heartbeat.beat <= known.beat):
        return Told()
    # A connection whose birth we did not see: alive, but what it has may have changed.
    told = Told(is_rebirth_wanted=heartbeat.conn > known.conn)
    known.beat, known.is_connected, known.seen_ms, known.told_ms = heartbeat.beat, True, now_ms, heartbeat.t_ms
    if not told.is_rebirth_wanted:
        keep(known, heartbeat.gateway, rows)
        told.changes.append(changes.Beaten(heartbeat, now_ms))
    return told


def _death(death: Death, known: Known, rows: Rows) -> Told:
    if death.conn != known.conn or not known.is_connected:
        return Told()
    known.is_connected = False
    keep(known, death.gateway, rows)
    return Told(changes=[changes.Died(death.gateway)])


def _is_up(known: Known, now_ms: int) -> bool:
    return known.is_connected and now_ms - known.seen_ms < LINK_LOST_AFTER_MS


def _may_restart(birth: Birth, known: Known, now_ms: int) -> bool:
    """A smaller number is believed only while the larger one is silent and the gateway's own time went on."""
    if _is_up(known, now_ms):
        return False
    return birth.clock == ClockQuality.UNKNOWN or birth.t_ms > known.told_ms


def _older(conn: int, known: Known) -> str:
    return f"a birth of connection {conn} while connection {known.conn} is alive: two machines with one identity?"


def _row(gateway: str, place: int, card: EquipmentCard) -> Row:
    return (
        gateway,
        card.id,
        place,
        clean(card.kind),
        clean(card.name),
        card.latitude,
        card.longitude,
        card.executor,
        msgspec.json.encode(card.verbs).decode(),
        card.parent,
    )
