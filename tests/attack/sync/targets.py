"""Every parser of bytes from outside, with good bytes to begin from and what must hold for anything else.

A target's feed returns True if it took the bytes, raises one of its ``refusals`` if not; every other exception is a
fault, and so is an AssertionError: something was believed that nobody signed, or one meaning has two spellings.
"""

from dataclasses import dataclass
from functools import cache

import msgspec

from agent.model.site_file import SiteFileError
from agent.wire import envelope
from agent.wire.demotrust import roots_toml
from agent.wire.errors import KeyListError
from agent.wire.fleetlog import RecordProof
from agent.wire.local import GetLog, GetSafetyRecords, Status, Submit, TellFleetSeen, frame
from agent.wire.messages import CommandMessage, StreamHead, encode
from agent.wire.streams import NO_HASH
from agent.wire.topics import fleet_state
from drivers.errors import DriverError
from fleet.errors import AskError, CertificateError
from simulators import snmp_message
from tests.attack.sync import feeds
from tests.attack.sync.feeds import (
    CONFIGS,
    UNBELIEVED,
    Feed,
    Fresh,
    checkpoint,
    command_set,
    csr,
    log_entry,
    payloads,
    sealed,
    statement,
    worked,
)
from tests.attack.sync.mutation import Mutate, any_of, bent, respelled, reworded, twisted
from tests.wire import test_blackbox as boxes
from tests.wire import vectors
from tests.wire.party import CITY, GATEWAY, OFFICERS, T0_MS, sealed_list

COMMAND = CommandMessage(
    1, "c-1", "alice/1", GATEWAY, "junction-1", "flash", {"lease_s": 600}, vectors.NONCE, 17, T0_MS, T0_MS + 30_000, None, None
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Args:
        share: of a hundred inputs about so many go here; slow ones get fewer.
        fresh: makes a feed with a memory of its own for one run; a pure parser has none.
    """

    name: str
    seeds: tuple[bytes, ...]
    mutate: Mutate
    refusals: tuple[type[Exception], ...]
    share: int
    fresh: Fresh


def always(feed: Feed) -> Fresh:
    """A parser without a memory."""
    return lambda _stack: feed


@cache
def targets() -> tuple[Target, ...]:
    """All of them, but ingest (``tests/attack/sync/ingested.py``), which needs a database."""
    return (*_of_the_wire(), *_of_the_cabinet(), *_of_the_fleet())


def _of_the_wire() -> tuple[Target, ...]:
    up_names = ("birth", "heartbeat", "death", "link-1-samples", "link-2-event", "link-7-gap", "result")
    down_names = ("ack", "fleet-state")
    command_payload = encode(COMMAND)
    key_payload = envelope.parse(envelope.split_set(sealed_list())[0]).payload
    boxes_of = [command_set()[1], sealed_list(), *(data for _, data in sealed(up_names))]
    ups, downs = (tuple(data for _, data in sealed(names)) for names in (up_names, down_names))
    all_payloads = (*payloads(*worked()), command_payload, key_payload)
    names = tuple(worked()[name]["topic"].encode() for name in worked())
    both, inside = any_of(bent, respelled), any_of(twisted, twisted, bent)
    return (
        Target("envelope", tuple(boxes_of), both, UNBELIEVED, 22, always(feeds.feed_envelope)),
        Target("up", ups, both, UNBELIEVED, 8, feeds.envelopes_of(up_names)),
        Target("down", downs, both, UNBELIEVED, 4, feeds.envelopes_of(down_names)),
        Target("command set", (command_set()[1],), both, UNBELIEVED, 4, always(feeds.feed_set)),
        Target(
            "key list",
            feeds.key_lists(),
            any_of(bent, respelled, twisted),
            (KeyListError,),
            4,
            always(feeds.feed_key_list),
        ),
        Target("signed key list", (key_payload,), inside, (KeyListError,), 2, always(feeds.feed_signed_list)),
        Target("message", all_payloads, inside, UNBELIEVED, 14, always(feeds.feed_message)),
        Target("topic", names, bent, UNBELIEVED, 6, always(feeds.feed_topic)),
        Target("command gate", (command_payload,), twisted, UNBELIEVED, 3, feeds.gate),
        Target("courier", payloads("ack", "fleet-state"), twisted, UNBELIEVED, 3, feeds.courier),
    )


def _of_the_cabinet() -> tuple[Target, ...]:
    tell = TellFleetSeen(str(fleet_state(CITY)), b"sealed")  # type: ignore[arg-type]
    requests = tuple(frame(each)[4:] for each in (GetLog("", 5), GetSafetyRecords(1, 2, 3), Submit(b"sealed"), tell))
    heads, warnings = [StreamHead("safety", 1, 0, NO_HASH)], ["b"]
    status = Status(
        "guard", GATEWAY, CITY, "x", 1, 2, bytes(16), {"alice/1": 1}, "up", heads, [], {"a": 1}, warnings
    )  # fmt: skip
    sites, maps = (
        tuple(path.read_bytes() for path in sorted((CONFIGS / each).glob("*.toml"))) for each in ("sites", "profiles")
    )
    snmp = tuple(
        snmp_message.encode(
            snmp_message.Message(version, b"public", snmp_message.RESPONSE, 7, (((1, 3, 6, 1, 4, 1), value),))
        )
        for version in (0, 1)
        for value in (snmp_message.integer(37), snmp_message.octets(b"\x25"))
    )
    modbus = ("000100000007010304000a000b", "000100000003018302", "0000000000030183020001000000070103040001ffff")
    answers, inside = tuple(bytes.fromhex(each) for each in modbus), any_of(twisted, bent)
    roots = (roots_toml(CITY, 2, OFFICERS).encode(),)
    return (
        Target("socket request", requests, inside, UNBELIEVED, 6, always(feeds.feed_request)),
        Target("socket reply", (frame(status)[4:],), inside, UNBELIEVED, 3, always(feeds.feed_reply)),
        Target("site file", sites, reworded, (SiteFileError,), 1, always(feeds.feed_site)),
        Target("register map", maps, reworded, (DriverError,), 2, always(feeds.feed_profile)),
        Target("root file", roots, reworded, (KeyListError,), 2, always(feeds.feed_roots)),
        Target("SNMP answer", snmp, bent, (DriverError,), 2, always(feeds.feed_snmp)),
        Target("Modbus answer", answers, bent, (), 6, always(feeds.feed_modbus)),
        Target("export file", (boxes.whole(),), bent, (), 2, always(feeds.feed_export)),
    )


def _of_the_fleet() -> tuple[Target, ...]:
    proof = RecordProof(log_entry(), 0, (), checkpoint(), bytes.fromhex(worked()["link-1-samples"]["envelope"]))
    proofs = (proof.text.encode(), checkpoint().encode())
    code = (b"abcde-fghij-klmno-pqrst-uvwxy-z",)
    command = {"gateway": GATEWAY, "equipment": "j-1", "verb": "flash", "operator": "alice", "args": {"lease_s": 60}}
    bodies = tuple(msgspec.json.encode(each) for each in ({**command, "wait_s": 0}, {"operator": "bruno"}))
    unread = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AskError)
    both = any_of(bent, respelled)
    return (
        Target("proof file", proofs, reworded, UNBELIEVED, 3, always(feeds.feed_proof)),
        Target("enrolment", (statement(),), both, UNBELIEVED, 2, always(feeds.feed_statement)),
        Target("certificate request", (csr(),), bent, (CertificateError,), 2, always(feeds.feed_csr)),
        Target("enrolment code", code, bent, UNBELIEVED, 1, always(feeds.feed_code)),
        Target("control API", bodies, reworded, unread, 3, always(feeds.feed_api)),
    )
