"""Does a running broker keep to its configuration? Found out by what is delivered, never by what it says.

A broker grants a subscription it will never serve, and confirms a message it drops; MQTT lets it. So each promise is
tried: something forbidden is done, then something allowed on the same path, and when the allowed one has arrived the
forbidden one must not have.

Two gateways that are no cabinets (``check-a``, ``check-b``) and an observer take part, with certificates made for a day.
"""

import asyncio
import ssl
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from agent.model.identity import CityId
from agent.wire.envelope import ENVELOPE_BYTES_MAX
from agent.wire.mqtt import Client, PublishRefusedError
from agent.wire.topics import ROOT
from fleet import authority, pki
from fleet.authority import Issuer
from fleet.broker_client import connected
from fleet.broker_config import CHECK_GATEWAYS, CHECK_OBSERVER
from fleet.errors import FleetError
from fleet.link import Broker

ANSWER_S = 5.0
REFUSED_S = 2.0
"""A connection, or a message, that is not confirmed by then is refused. A good one has to be within the same time."""
BRIDGE_S = 1.0
"""How long a message may take from one broker to another that should not have it."""
RELOAD_TRIES, RELOAD_PAUSE_S = 20, 0.1
"""A broker told to reload may let one more in before it does."""
FORBIDDEN, ALLOWED = b"forbidden", b"allowed"
A, B = CHECK_GATEWAYS


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, tried.

    Args:
        holds: None if it could not be tried.
    """

    promise: str
    holds: bool | None
    detail: str = ""


class _NotTriedError(FleetError):
    """What had to work first did not: nothing is known of the promise."""


@dataclass(frozen=True, slots=True)
class Check:
    """One broker, and certificates to try it with.

    Args:
        other: a second broker that must not hear of what passes here.
        reload: makes the broker take the authority's present crl.pem; None leaves revocation untried.
    """

    city: str
    broker: Broker
    issuer: Issuer
    folder: Path
    other: Broker | None = None
    reload: Callable[[], None] | None = None
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    async def run(self, only: str = "") -> list[Finding]:
        """Try everything, one after the other; or only the promises that contain a text."""
        for gateway in CHECK_GATEWAYS:
            self.contexts[gateway] = self._context(*self._gateway(gateway))
        key = pki.new_key()
        observer = pki.manager_certificate(CHECK_OBSERVER, key.public_key(), self.issuer.authority, pki.utc_now())
        self.contexts[CHECK_OBSERVER] = self._context(key, observer)
        trials: list[tuple[str, Callable[[], Awaitable[bool]]]] = [
            ("what a gateway may say arrives, up to the largest envelope", self._carries),
            ("a gateway cannot publish under another's topic", self._cannot_speak_for_another),
            ("a gateway cannot speak as the fleet", self._cannot_speak_as_fleet),
            ("a gateway cannot read what is for another", self._cannot_overhear),
            ("a gateway cannot take another's client id or user name", self._cannot_impersonate),
            ("what a gateway may not publish is not retained either", self._cannot_retain),
            ("a message larger than an envelope does not pass", self._no_oversize),
            ("without a certificate nobody connects", partial(self._refused, self._context())),
            ("a certificate of another authority does not connect", partial(self._refused, self._foreign())),
            ("an expired certificate does not connect", partial(self._refused, self._expired())),
            ("a revoked certificate does not connect, and others still do", self._no_revoked),
            ("what passes here does not pass at the other broker", self._isolated),
        ]
        return [await self._tried(promise, trial) for promise, trial in trials if only in promise]

    async def _tried(self, promise: str, trial: Callable[[], Awaitable[bool]]) -> Finding:
        try:
            return Finding(promise, await trial())
        except _NotTriedError as error:
            return Finding(promise, None, str(error))
        except (aiomqtt.MqttError, OSError, TimeoutError) as error:
            return Finding(promise, None, str(error) or "nothing arrived in time")

    async def _carries(self) -> bool:
        large = bytes(ENVELOPE_BYTES_MAX)
        async with self._connected(CHECK_OBSERVER) as observer, self._connected(A) as gateway:
            await observer.subscribe(self._topic(A, "up/state"), qos=1)
            try:
                await gateway.publish(self._topic(A, "up/state"), large, qos=1)
                await gateway.publish(self._topic(A, "up/state"), ALLOWED, qos=1)
                return large in await _until_allowed(observer)
            except (aiomqtt.MqttError, TimeoutError):
                return False

    async def _cannot_speak_for_another(self) -> bool:
        async with self._connected(CHECK_OBSERVER) as observer, self._connected(A) as gateway:
            await observer.subscribe([(self._topic(name, "up/#"), 1) for name in CHECK_GATEWAYS])
            for name in ("up/birth", "up/state", "up/safety", "up/death"):
                await _try_publish(gateway, self._topic(B, name))
            await gateway.publish(self._topic(A, "up/state"), ALLOWED, qos=1)
            return FORBIDDEN not in await _until_allowed(observer)

    async def _cannot_speak_as_fleet(self) -> bool:
        async with self._connected(B) as other, self._connected(A) as gateway, self._observer() as observer:
            await other.subscribe([(self._topic(B, "down/#"), 1), (self._topic("fleet", "state"), 1)])
            await _try_publish(gateway, self._topic("fleet", "state"))
            for name in ("down/cmd", "down/ack", "down/keys"):
                await _try_publish(gateway, self._topic(B, name))
            await observer.publish(self._topic(B, "down/ack"), ALLOWED, qos=1)
            return FORBIDDEN not in await _until_allowed(other)

    async def _cannot_overhear(self) -> bool:
        async with self._connected(A) as curious, self._connected(B) as addressee, self._observer() as observer:
            for wanted in (self._topic(B, "down/+"), self._topic("+", "down/cmd"), "#", self._topic("+", "up/#")):
                await _try_subscribe(curious, wanted)
            await curious.subscribe(self._topic(A, "down/+"), qos=1)
            await addressee.subscribe(self._topic(B, "down/+"), qos=1)
            await observer.publish(self._topic(B, "down/cmd"), FORBIDDEN, qos=1)
            await addressee.publish(self._topic(B, "up/state"), FORBIDDEN, qos=1)
            await observer.publish(self._topic(B, "down/cmd"), ALLOWED, qos=1)
            if FORBIDDEN not in await _until_allowed(addressee):
                raise _NotTriedError("the addressee did not get it either")
            await observer.publish(self._topic(A, "down/cmd"), ALLOWED, qos=1)
            return FORBIDDEN not in await _until_allowed(curious)

    async def _cannot_impersonate(self) -> bool:
        async with self._connected(B) as victim, self._observer() as observer:
            await victim.subscribe(self._topic(B, "down/+"), qos=1)
            await observer.subscribe([(self._topic(name, "up/#"), 1) for name in CHECK_GATEWAYS])
            heard: list[bytes] = []
            for username in (None, B):
                async with self._connected(A, identifier=B, username=username) as impostor:
                    await _try_publish(impostor, self._topic(B, "up/state"))
                    await impostor.publish(self._topic(A, "up/state"), ALLOWED, qos=1)
                    heard += await _until_allowed(observer)
            try:
                await observer.publish(self._topic(B, "down/ack"), ALLOWED, qos=1)
                await _until_allowed(victim)
            except (aiomqtt.MqttError, TimeoutError):
                return False  # It was pushed off.
            return FORBIDDEN not in heard

    async def _cannot_retain(self) -> bool:
        places = (self._topic(B, "up/birth"), self._topic("fleet", "state"), self._topic(B, "down/cmd"))
        async with self._connected(A) as gateway:
            for place in places:
                await _try_publish(gateway, place, retain=True)
        async with self._observer() as observer, self._connected(B) as other:
            await observer.subscribe(self._topic(B, "up/#"), qos=1)
            await other.subscribe([(self._topic("fleet", "state"), 1), (self._topic(B, "down/#"), 1)])
            await other.publish(self._topic(B, "up/state"), ALLOWED, qos=1)
            await observer.publish(self._topic(B, "down/ack"), ALLOWED, qos=1)
            return FORBIDDEN not in [*await _until_allowed(observer), *await _until_allowed(other)]

    async def _no_oversize(self) -> bool:
        async with self._observer() as observer:
            await observer.subscribe(self._topic(A, "up/state"), qos=1)
            for size in (ENVELOPE_BYTES_MAX + 1, 2 * ENVELOPE_BYTES_MAX):
                with suppress(aiomqtt.MqttError, TimeoutError):  # A broker may also end the connection.
                    async with self._connected(A) as gateway:
                        await gateway.publish(self._topic(A, "up/state"), bytes(size), qos=1, timeout=REFUSED_S)
            async with self._connected(A) as gateway:
                await gateway.publish(self._topic(A, "up/state"), ALLOWED, qos=1)
            return all(len(payload) <= ENVELOPE_BYTES_MAX for payload in await _until_allowed(observer))

    async def _refused(self, tls: ssl.SSLContext) -> bool:
        if not await self._lets_in(self.contexts[A]):
            raise _NotTriedError("not even a good certificate connects")
        return not await self._lets_in(tls)

    async def _no_revoked(self) -> bool:
        if self.reload is None:
            raise _NotTriedError("say with --reload how the broker is made to read its list again")
        key, certificate = self._gateway(B)
        tls = self._context(key, certificate)
        if not await self._lets_in(tls):
            raise _NotTriedError("it did not connect before it was revoked either")
        self.issuer.issue(certificate)
        self.issuer.revoke([certificate.serial_number], pki.utc_now())
        try:
            await asyncio.to_thread(self.reload)
        except (OSError, subprocess.SubprocessError) as error:
            raise _NotTriedError(f"--reload: {error}") from error
        for _ in range(RELOAD_TRIES):
            if not await self._lets_in(tls):
                return await self._lets_in(self.contexts[A])
            await asyncio.sleep(RELOAD_PAUSE_S)
        return False

    async def _isolated(self) -> bool:
        other = self.other
        if other is None:
            raise _NotTriedError("name the second broker with --other")
        async with self._connected(CHECK_OBSERVER, at=other) as observer, self._connected(A) as gateway:
            await observer.subscribe(self._topic(A, "up/state"), qos=1)
            await gateway.publish(self._topic(A, "up/state"), FORBIDDEN, qos=1)
            await asyncio.sleep(BRIDGE_S)
            async with self._connected(A, at=other) as there:
                await there.publish(self._topic(A, "up/state"), ALLOWED, qos=1)
                return FORBIDDEN not in await _until_allowed(observer)

    async def _lets_in(self, tls: ssl.SSLContext) -> bool:
        try:
            async with self._connected(A, tls=tls, timeout_s=REFUSED_S):
                return True
        except (aiomqtt.MqttError, OSError, TimeoutError):
            return False

    def _observer(self) -> AbstractAsyncContextManager[Client]:
        return self._connected(CHECK_OBSERVER)

    def _connected(
        self,
        name: str,
        *,
        identifier: str = "",
        username: str | None = None,
        tls: ssl.SSLContext | None = None,
        at: Broker | None = None,
        timeout_s: float = ANSWER_S,
    ) -> AbstractAsyncContextManager[Client]:
        broker = at or self.broker
        return connected(broker, tls or self.contexts[name], identifier or name, username, timeout_s)

    def _topic(self, gateway: str, rest: str) -> str:
        return f"{ROOT}/{self.city}/{gateway}/{rest}"

    def _gateway(
        self, name: str, days: float = pki.CHECK_DAYS, issuer: pki.Authority | None = None
    ) -> tuple[pki.PrivateKey, x509.Certificate]:
        key = pki.new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        return key, pki.gateway_certificate(request, name, issuer or self.issuer.authority, pki.utc_now(), days)

    def _foreign(self) -> ssl.SSLContext:
        city, now = CityId(self.city), pki.utc_now()
        return self._context(*self._gateway(A, issuer=pki.make_issuing(city, pki.make_root(city, now), now)))

    def _expired(self) -> ssl.SSLContext:
        return self._context(*self._gateway(A, days=-1 / 1440))

    def _context(
        self, key: pki.PrivateKey | None = None, certificate: x509.Certificate | None = None
    ) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.issuer.folder / authority.CHAIN)
        if key is not None and certificate is not None:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                place = Path(folder)
                authority.write_key(place / "key", key)
                chain = (certificate, self.issuer.authority.certificate)
                authority.write_new(place / "pem", b"".join(each.public_bytes(authority.PEM) for each in chain))
                context.load_cert_chain(place / "pem", place / "key")
        return context


async def _until_allowed(client: Client) -> list[bytes]:
    """What arrives, up to the message that must."""
    heard: list[bytes] = []
    async with asyncio.timeout(ANSWER_S):
        async for message in client.messages:
            if bytes(message.payload) == ALLOWED:
                break
            heard.append(bytes(message.payload))
    return heard


async def _try_publish(client: Client, topic: str, *, retain: bool = False) -> None:
    with suppress(PublishRefusedError):  # Whether that is true, whoever would receive it shows.
        await client.publish(topic, FORBIDDEN, qos=1, retain=retain)


async def _try_subscribe(client: Client, topic: str) -> None:
    with suppress(aiomqtt.MqttError):  # Refused outright is as good.
        await client.subscribe(topic, qos=1)
