"""A city's keys for tests: always the same ones."""

from dataclasses import dataclass
from hashlib import sha256

from agent.model.observation import ClockQuality
from agent.wire.demotrust import OPERATOR_CAPABILITIES, anchors_of, sign_key_list
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA
from agent.wire.trust import COMMAND_CAPABILITIES, KeyEntry, KeyList, KeyRing, load_key_list

CITY = "dijon"
GATEWAY = "gw-darcy"
OTHER_GATEWAY = "gw-monge"
T0_MS = 1_800_000_000_000
YEAR_MS = 365 * 24 * 3600 * 1000


def signer(kid: str) -> Signer:
    """The one key of that name."""
    return Signer.from_seed(kid, sha256(kid.encode()).digest())


def entry(
    kid: str,
    role: str,
    capabilities: tuple[str, ...],
    scope: tuple[str, ...] = ("*",),
    subject: str | None = None,
    valid_ms: tuple[int, int] = (0, T0_MS + 10 * YEAR_MS),
    key: Signer | None = None,
) -> KeyEntry:
    """A row of the key list."""
    key = key or signer(kid)
    subject = subject or kid.rsplit("/", 1)[0]
    return KeyEntry(kid, key.algorithm, key.public_key, subject, role, capabilities, scope, *valid_ms)


def entries(gateway: str = GATEWAY) -> list[KeyEntry]:
    """Everybody there is."""
    return [
        entry("director/1", "director", ("ack", "state", "desired", "roll")),
        entry("alice/1", "operator", OPERATOR_CAPABILITIES),
        entry("bruno/1", "operator", OPERATOR_CAPABILITIES),
        entry(f"{gateway}/agent/1", "agent", ("up",), (gateway,), gateway),
        entry(f"{gateway}/guard/1", "guard", ("up",), (gateway,), f"{gateway}/guard"),
        entry(f"{gateway}/tech/1", "technician", COMMAND_CAPABILITIES, (gateway,), f"{gateway}/tech"),
    ]


OFFICERS = [signer(f"root/{n}") for n in (1, 2, 3)]
ROOTS = anchors_of(OFFICERS, CITY, 2)


def sealed_list(keys: list[KeyEntry] | None = None, version: int = 1, expires_ms: int = T0_MS + YEAR_MS) -> bytes:
    """A key list signed by two officers."""
    key_list = KeyList(SCHEMA, CITY, version, T0_MS, expires_ms, entries() if keys is None else keys)
    return sign_key_list(key_list, OFFICERS[:2])


def ring(*gateways: str) -> KeyRing:
    """The ring everybody in the tests uses."""
    keys = entries(*gateways[:1])
    for gateway in gateways[1:]:
        keys += entries(gateway)[3:]
    return load_key_list(sealed_list(keys), ROOTS)


@dataclass(slots=True)
class HandClock:
    """A clock that moves when told to."""

    mono_ms: int = 1_000
    wall_ms: int = T0_MS
    known: ClockQuality = ClockQuality.NETWORK
    boot: bytes = bytes(8)

    def now_ms(self) -> int:
        return self.mono_ms

    def unix_ms(self) -> int:
        return self.wall_ms

    def quality(self) -> ClockQuality:
        return self.known

    def advance(self, ms: int) -> None:
        self.mono_ms += ms
        self.wall_ms += ms
