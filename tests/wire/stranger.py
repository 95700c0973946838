"""A gateway written from ``docs/wire.md`` alone: it shares no line with ours, and reads like that page.

``python stranger.py FILE`` with a JSON file of settings. One lamp segment, one stream, commands carried out on a number in
memory. What happens is told on standard output, a JSON array to a line. Numbers in comments are sections of that page.
"""

import json
import os
import ssl
import struct
import sys
import time
import tomllib
from hashlib import sha256
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ED25519 = 0x32
WINDOW = 16
SEGMENT = "segment-1"
POINT = f"{SEGMENT}/level_percent"


class Wrong(Exception):  # noqa: N818 - said aloud
    """A message that is not believed, by its name in section 8."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def tell(*words: object) -> None:
    print(json.dumps(words), flush=True)


INTEGERS = (
    (0xCC, ">B"),
    (0xCD, ">H"),
    (0xCE, ">I"),
    (0xCF, ">Q"),
    (0xD0, ">b"),
    (0xD1, ">h"),
    (0xD2, ">i"),
    (0xD3, ">q"),
)
FLOATS = ((0xCA, ">f"), (0xCB, ">d"))


def pack(value: Any) -> bytes:
    """MessagePack (4), the shortest form of each value."""
    match value:
        case None | bool():
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
        case int() if -32 <= value < 128:
            return bytes((value % 256,))
        case int():
            forms = INTEGERS[:4] if value >= 0 else INTEGERS[4:]
            bound = value if value >= 0 else 2 * (-1 - value)  # A negative number needs one bit more.
            code, form = next(each for each in forms if bound < 256 ** struct.calcsize(each[1]))
            return bytes((code,)) + struct.pack(form, value)
        case float():
            return b"\xcb" + struct.pack(">d", value)
        case str():
            text = value.encode()
            return _head(len(text), ((0xA0, 32),), ((0xD9, ">B"), (0xDA, ">H"), (0xDB, ">I"))) + text
        case bytes():
            return _head(len(value), (), ((0xC4, ">B"), (0xC5, ">H"), (0xC6, ">I"))) + value
        case list():
            return _head(len(value), ((0x90, 16),), ((0xDC, ">H"), (0xDD, ">I"))) + b"".join(map(pack, value))
        case dict():
            inside = b"".join(pack(key) + pack(each) for key, each in value.items())
            return _head(len(value), ((0x80, 16),), ((0xDE, ">H"), (0xDF, ">I"))) + inside
    raise TypeError(value)


def _head(size: int, short: tuple[tuple[int, int], ...], long: tuple[tuple[int, str], ...]) -> bytes:
    for code, limit in short:
        if size < limit:
            return bytes((code | size,))
    for code, form in long:
        if size < 256 ** struct.calcsize(form):
            return bytes((code,)) + struct.pack(form, size)
    raise ValueError(size)


def unpack(data: bytes) -> Any:
    value, end = _value(data, 0)
    if end != len(data):
        raise Wrong("message")
    return value


def _value(data: bytes, at: int) -> tuple[Any, int]:
    code, at = data[at], at + 1
    if code < 0x80 or code >= 0xE0:
        return code - 256 * (code >= 0xE0), at
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], at
    if number := dict(INTEGERS + FLOATS).get(code):
        return struct.unpack_from(number, data, at)[0], at + struct.calcsize(number)
    if code < 0xC0:
        kind, size = ("map", code & 15) if code < 0x90 else ("list", code & 15) if code < 0xA0 else ("text", code & 31)
    else:
        sizes = {0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4), 0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4), 0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)}  # fmt: skip
        if code not in sizes:
            raise Wrong("message")
        kind, width = sizes[code]
        size, at = int.from_bytes(data[at : at + width], "big"), at + width
    if kind in ("text", "bytes"):
        raw = data[at : at + size]
        return (raw if kind == "bytes" else raw.decode()), at + size
    items = []
    for _ in range(size * (2 if kind == "map" else 1)):
        item, at = _value(data, at)
        items.append(item)
    return (items if kind == "list" else dict(zip(items[::2], items[1::2], strict=True))), at


def bstr(value: bytes) -> bytes:
    size = len(value)
    if size < 24:
        return bytes((0x40 + size,)) + value
    for code, width in ((0x58, 1), (0x59, 2), (0x5A, 4)):
        if size < 256**width:
            return bytes((code,)) + size.to_bytes(width, "big") + value
    raise ValueError(size)


def seal(key: Ed25519PrivateKey, kid: str, payload: bytes, aad: str) -> bytes:
    """An envelope (2)."""
    protected = bytes((0xA2, 0x01, ED25519, 0x04)) + bstr(kid.encode())
    signature = key.sign(b"\x84\x6aSignature1" + bstr(protected) + bstr(aad.encode()) + bstr(payload))
    return b"\xd2\x84" + bstr(protected) + b"\xa0" + bstr(payload) + bstr(signature)


def split(data: bytes, at: int = 0) -> tuple[str, bytes, bytes, bytes, int]:
    """Key id, protected header, payload, signature, and where the envelope ends."""

    def take(at: int) -> tuple[bytes, int]:
        code = data[at]
        width = {0x58: 1, 0x59: 2, 0x5A: 4}.get(code, 0)
        size = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else code - 0x40
        end = at + 1 + width + size
        if bstr(data[end - size : end]) != data[at:end]:  # Also a length in another form than the shortest.
            raise Wrong("envelope")
        return data[end - size : end], end

    try:
        if data[at : at + 2] != b"\xd2\x84":
            raise Wrong("envelope")
        protected, at = take(at + 2)
        if protected[:4] != bytes((0xA2, 0x01, ED25519, 0x04)) or data[at] != 0xA0:
            raise Wrong("envelope")
        payload, at = take(at + 1)
        signature, at = take(at)
        kid = protected[5:] if protected[4] < 0x58 else protected[6:]
        if bstr(kid) != protected[4:] or len(signature) != 64:
            raise Wrong("envelope")
        return kid.decode(), protected, payload, signature, at
    except (IndexError, ValueError) as error:
        raise Wrong("envelope") from error


def check(public: bytes, protected: bytes, aad: str, payload: bytes, signature: bytes) -> None:
    message = b"\x84\x6aSignature1" + bstr(protected) + bstr(aad.encode()) + bstr(payload)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature as error:
        raise Wrong("signature") from error


def whole(data: bytes, public: dict[str, bytes], aad: str) -> bytes:
    """The payload of one envelope with nothing behind it, by one of these keys."""
    kid, protected, payload, signature, end = split(data)
    if end != len(data):
        raise Wrong("envelope")
    check(public[kid], protected, aad, payload, signature)
    return payload


class Keys:
    """The root file and the key list (3)."""

    def __init__(self, roots: str, sealed: bytes) -> None:
        table = tomllib.loads(roots)
        anchors = {each["kid"]: each for each in table["anchor"]}
        at, subjects, payload = 1, set(), b""
        for _ in range(sealed[0] - 0x80):
            kid, protected, payload, signature, at = split(sealed, at)
            aad = f"arm1|{table['city']}|fleet|fleet|keys"
            check(bytes.fromhex(anchors[kid]["public_key"]), protected, aad, payload, signature)
            subjects.add(anchors[kid]["subject"])
        if len(subjects) < table["threshold"]:
            raise Wrong("key-list")
        self.city, self.expires_ms = table["city"], unpack(payload)[4]
        self.entries = {entry[0]: entry for entry in unpack(payload)[5]}

    def open(self, data: bytes, at: int, aad: str) -> tuple[Any, bytes, int]:
        """The signer's entry, the payload, and where the envelope ends."""
        kid, protected, payload, signature, end = split(data, at)
        entry = self.entries.get(kid)
        if entry is None or not entry[7] <= now_ms() <= entry[8]:
            raise Wrong("unknown-key")
        check(entry[2], protected, aad, payload, signature)
        return entry, payload, end

    def one(self, data: bytes, aad: str, capability: str, gateway: str) -> list[Any]:
        """A message by somebody with the capability, for us."""
        entry, payload, end = self.open(data, 0, aad)
        if end != len(data):
            raise Wrong("envelope")
        if capability not in entry[5] or ({"*", gateway}.isdisjoint(entry[6]) and capability != "state"):
            raise Wrong("capability")
        fields: list[Any] = unpack(payload)
        if fields[0] != 1:
            raise Wrong("message")
        return fields


class Gateway:
    """One connection's life (4 to 7); links are kept in memory."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.city, self.id = settings["city"], settings["gateway"]
        self.kid, self.key = settings["kid"], Ed25519PrivateKey.from_private_bytes(bytes.fromhex(settings["seed"]))
        self.keys = Keys(settings["roots"], Path(settings["keys"]).read_bytes())
        self.arrived: Queue[tuple[str, bytes]] = Queue(1_000)
        self.conn = settings["conn"]
        self.beat = self.term = self.issued_ms = self.acked = self.sent = 0
        self.progress_s = time.monotonic()
        self.epoch = int(time.time())
        self.links: list[tuple[bytes, bytes]] = []
        self.nonces = [os.urandom(16)]
        self.counters: dict[str, int] = {}
        self.seen: set[bytes] = set()
        self.level = settings["level"]
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, self.id, protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=settings["ca"])
        context.load_cert_chain(settings["certificate"], settings["tls_key"])
        self.client.tls_set_context(context)
        self.client.on_message = self.hear
        self.client.will_set(self.topic("death"), self.sealed("death", [1, self.id, self.conn]), qos=1)

    def hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        self.arrived.put((message.topic, bytes(message.payload)))

    def topic(self, name: str) -> str:
        return f"armoire/1/{self.city}/{self.id}/up/{name}"

    def sealed(self, name: str, fields: list[Any]) -> bytes:
        return seal(self.key, self.kid, pack(fields), f"arm1|{self.city}|{self.id}|up|{name}")

    def say(self, name: str, data: bytes) -> None:
        self.client.publish(self.topic(name), data, qos=1)

    def head(self, seq: int) -> list[Any]:
        return ["state", self.epoch, seq, self.links[seq - 1][1] if seq else bytes(32)]

    def birth(self) -> None:
        card = [SEGMENT, "segment", "Rue de la Stranger", 47.3, 5.0, "agent", ["set-level"], ""]
        nonces, counters = {"agent": self.nonces[0]}, [[kid, count] for kid, count in self.counters.items()]
        heads = [self.head(len(self.links))]
        fields = [1, self.id, self.conn, "A stranger", now_ms(), 2, nonces, counters, heads, [card], "stranger 1", []]
        self.say("birth", self.sealed("birth", [*fields, self.term, self.issued_ms]))

    def heartbeat(self) -> None:
        self.beat += 1
        if self.beat % 3 == 0:
            self.nonces = [os.urandom(16), self.nonces[0]]
        modes, heads = {SEGMENT: "supervised"}, [self.head(len(self.links))]
        fields = [2, self.id, self.conn, self.beat, now_ms(), 2, {"agent": self.nonces[0]}, modes, heads, 0]
        self.say("birth", self.sealed("birth", [*fields, self.term, self.issued_ms]))

    def record(self) -> None:
        """Seal the present level as the next link (5)."""
        seq = len(self.links) + 1
        columns = [[POINT], [0], [0], [], [self.level], []]
        _, _, _, prev = self.head(seq - 1)
        fields = [1, self.id, "state", self.epoch, seq, prev, now_ms(), time.monotonic_ns() // 1_000_000, 2, *columns]
        data = self.sealed("state", fields)
        self.links.append((data, sha256(data).digest()))

    def send(self) -> None:
        """Up to a window ahead of the last ack; back to it without progress (5.2)."""
        if self.sent > self.acked and time.monotonic() - self.progress_s > 1:
            self.sent, self.progress_s = self.acked, time.monotonic()
        while self.sent < min(len(self.links), self.acked + WINDOW):
            self.say("state", self.links[self.sent][0])
            self.sent += 1

    def take(self, topic: str, data: bytes) -> None:
        down = f"armoire/1/{self.city}/{self.id}/down/"
        aad = f"arm1|{self.city}|{self.id}|down|"
        if topic == f"armoire/1/{self.city}/fleet/state":
            state = self.keys.one(data, f"arm1|{self.city}|fleet|fleet|state", "state", self.id)
            if state[2] >= self.term:
                self.term, self.issued_ms = state[2], state[4]
                tell("state", state[1])
        elif topic == f"{down}ack":
            self.acknowledged(self.keys.one(data, f"{aad}ack", "ack", self.id))
        elif topic == f"{down}cmd":
            self.command(data, f"{aad}cmd")

    def acknowledged(self, ack: list[Any]) -> None:
        _, gateway, term, heads, rebirth = ack[:5]
        if gateway != self.id or term < self.term:
            raise Wrong("old-term")
        for stream, epoch, seq, link_hash in heads:
            if (stream, epoch) == ("state", self.epoch) and self.acked < seq <= len(self.links):
                if self.links[seq - 1][1] != link_hash:
                    raise Wrong("epoch")  # A fork. This gateway never has one; a real one begins an epoch.
                self.acked, self.progress_s = seq, time.monotonic()
                self.sent = max(self.sent, seq)
                tell("acknowledged", seq)
        if rebirth:
            self.birth()

    def command(self, data: bytes, aad: str) -> None:
        """The order of section 7."""
        at, signers, payload = 1, [], b""
        for _ in range(data[0] - 0x80):
            entry, payload, at = self.keys.open(data, at, aad)
            if not any(each.startswith("command:") for each in entry[5]):
                raise Wrong("capability")
            signers.append(entry)
        fields = unpack(payload)[:13]
        _, command, issuer, gateway, equipment, verb, args, nonce, counter, _, not_after_ms, point, value = fields
        is_named = issuer in [each[0] for each in signers] and gateway == self.id
        if at != len(data) or not is_named or now_ms() > self.keys.expires_ms:
            raise Wrong("signature")
        if sha256(payload).digest() in self.seen:
            raise Wrong("repeated")

        def end(ended: str, rule: str, reason: str) -> None:
            state = f"the level is {self.level} %"
            self.say("result", self.sealed("result", [1, command, self.id, equipment, verb, issuer, ended, rule, reason, state, now_ms()]))  # fmt: skip
            tell("command", verb, ended)

        may = all({"*", self.id} & set(each[6]) and "command:R1" in each[5] for each in signers)
        if counter <= self.counters.get(issuer, 0) or not may:
            return end("refused", "SR-25", "a counter used up, or a signer who may not")
        if nonce not in self.nonces or now_ms() > not_after_ms:
            return end("expired", "SR-25", "too late")
        if not_after_ms > now_ms() + 30_000:
            return end("refused", "SR-25", "made to lie in wait")
        self.seen.add(sha256(payload).digest())
        self.counters[issuer] = counter  # A real gateway: to disk, with fsync.
        if (equipment, verb) != (SEGMENT, "set-level"):
            return end("refused", "SR-01", f"no {verb} for {equipment} here")
        if set(args) != {"level_percent", "lease_s"} or not 0 <= args["level_percent"] <= 100:
            return end("refused", "SR-08", "arguments outside the grammar")
        if point is not None and (point != POINT or value != self.level):
            return end("refused", "SR-25", "the street has changed")
        self.level = args["level_percent"]
        self.record()
        return end("done", "", "as asked")

    def run(self, host: str, port: int) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        properties.MaximumPacketSize = 263_168
        subscribed: Queue[None] = Queue(10)
        self.client.on_subscribe = lambda *_: subscribed.put(None)
        wanted = [(f"armoire/1/{self.city}/{self.id}/down/+", 1), (f"armoire/1/{self.city}/fleet/state", 1)]
        connected: Queue[None] = Queue(1)
        self.client.on_connect = lambda *_: connected.put(None)
        self.client.connect(host, port, 20, clean_start=True, properties=properties)
        self.client.loop_start()
        connected.get(timeout=10)
        self.client.subscribe(wanted)
        subscribed.get(timeout=10)
        self.birth()
        for _ in range(3):
            self.record()
        beat_s = time.monotonic()
        while True:  # Until it is killed.
            self.send()
            if time.monotonic() - beat_s > 10:
                beat_s += 10
                self.heartbeat()
            try:
                self.take(*self.arrived.get(timeout=0.1))
            except Empty:
                continue
            except Wrong as wrong:
                tell("rejected", str(wrong))


if __name__ == "__main__":
    settings = json.loads(Path(sys.argv[1]).read_text())
    Gateway(settings).run(settings["host"], settings["port"])
