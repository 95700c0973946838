"""Questions and answers with one SNMP agent over UDP, one at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.model.site import SnmpLink
from drivers.errors import DeviceNonsenseError, DeviceRefusedError, DeviceSilentError, LinkDownError
from drivers.ntcip.codec import Value
from drivers.ntcip.message import ERRORS, NO_SUCH_NAME, Dialect, Question, Response, request_id

TIMEOUT_S = 0.3  # a controller answers within 50 ms; the observer looks every 100 ms
QUESTIONS_MAX = 16


class NoSuchObjectError(DeviceRefusedError):
    """The controller does not have an object (version 1 then answers for none of the others)."""

    def __init__(self, oid: str) -> None:
        super().__init__(f"the controller has no object {oid}")
        self.oid = oid


@dataclass(slots=True)
class SessionCounters:
    """What happened since the start. ``ignored`` counts answers to questions no longer asked, late or forged."""

    requests: int = 0
    silences: int = 0
    refusals: int = 0
    nonsense: int = 0
    ignored: int = 0


@dataclass(slots=True)
class _Pending:
    number: int
    question: Question | None  # None for a SET
    answer: asyncio.Future[Response]
    nonsense: DeviceNonsenseError | None = None


class SnmpSession(asyncio.DatagramProtocol):
    """One agent, reached through one connected socket, so that only its address can answer.

    What matches neither the number nor the form of an answer is counted and waited past: one forged or
    late datagram must not pass for the controller's word, nor hide it.
    """

    def __init__(self, link: SnmpLink, timeout_s: float = TIMEOUT_S) -> None:
        self.address = link.address
        self.counters = SessionCounters()
        self._timeout_s = timeout_s
        self._reader = Dialect(link.version, link.read_community)
        self._writer = Dialect(link.version, link.write_community)
        self._questions: dict[tuple[str, ...], Question] = {}
        self._turn = asyncio.Lock()
        self._transport: asyncio.DatagramTransport | None = None
        self._pending: _Pending | None = None

    async def get(self, oids: Sequence[str]) -> Mapping[str, Value]:
        """Read objects in one question; either all answers belong together or there are none.

        Returns:
            OID → value; None where a version 2c agent has no such object.

        Raises:
            LinkDownError: nobody listens there.
            DeviceSilentError: no answer in time.
            NoSuchObjectError: a version 1 agent lacks one of the objects.
            DeviceRefusedError: another error status.
            DeviceNonsenseError: what came is not an answer to this question.
        """
        question = self._question(tuple(oids))
        number = request_id()
        response = await self._exchange(question.encode(number), number, question)
        self._check(response, question.oids)
        return dict(response.values)

    async def set(self, oid: str, value: int) -> None:
        """Write one INTEGER object.

        Raises: as ``get``, but never LinkDownError once the datagram is out. After DeviceSilentError the write
            may or may not have arrived: read back before believing either.
        """
        number = request_id()
        try:
            response = await self._exchange(self._writer.encode_set([(oid, value)], number), number, None)
        except LinkDownError as error:
            if self._transport is None:
                raise
            raise DeviceSilentError(f"{self.address} did not confirm a write") from error
        self._check(response, (oid,))
        if response.values[0][1] != value:
            raise DeviceNonsenseError(f"{self.address} confirmed {response.values[0][1]!r} where {value} was written")

    async def close(self) -> None:
        """Close the socket; a later question opens it again."""
        async with self._turn:
            if self._transport is not None:
                self._transport.close()
                self._transport = None

    def _question(self, oids: tuple[str, ...]) -> Question:
        question = self._questions.get(oids)
        if question is None:
            if len(self._questions) >= QUESTIONS_MAX:
                self._questions.clear()
            question = self._questions[oids] = Question(self._reader, oids)
        return question

    def _check(self, response: Response, oids: Sequence[str]) -> None:
        """Raise unless the response answers for exactly these objects."""
        status, index = response.error_status, response.error_index
        if tuple(oid for oid, _ in response.values) != tuple(oids):
            self.counters.nonsense += 1
            raise DeviceNonsenseError(f"{self.address} answered for objects it was not asked for")
        if status == 0:
            return
        self.counters.refusals += 1
        if status == NO_SUCH_NAME and index > 0:
            raise NoSuchObjectError(oids[index - 1])
        oid = oids[index - 1] if index > 0 else "the request"
        raise DeviceRefusedError(f"{self.address} refused {oid}: {ERRORS.get(status, f'error {status}')}")

    async def _exchange(self, data: bytes, number: int, question: Question | None) -> Response:
        async with self._turn:  # bounded: whoever holds it waits for one answer at most
            pending = _Pending(number, question, asyncio.get_running_loop().create_future())
            try:
                async with asyncio.timeout(self._timeout_s):
                    transport = await self._open()
                    self._pending = pending
                    self.counters.requests += 1
                    transport.sendto(data)
                    return await pending.answer
            except TimeoutError as error:
                if pending.nonsense is not None:
                    raise pending.nonsense from error
                self.counters.silences += 1
                raise DeviceSilentError(f"{self.address} did not answer within {self._timeout_s:g} s") from error
            finally:
                self._pending = None

    async def _open(self) -> asyncio.DatagramTransport:
        if self._transport is None or self._transport.is_closing():
            self._transport = None
            loop = asyncio.get_running_loop()
            try:
                self._transport, _ = await loop.create_datagram_endpoint(
                    lambda: self, remote_addr=(self.address.host, self.address.port)
                )
            except OSError as error:
                raise LinkDownError(f"no way to {self.address}: {error}") from error
        return self._transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take a datagram; whatever it is, nothing is raised into the event loop."""
        pending = self._pending
        if pending is None or pending.answer.done():
            self.counters.ignored += 1
            return
        try:
            response = (
                self._writer.decode(data) if pending.question is None else pending.question.decode(data, pending.number)
            )
        except DeviceNonsenseError as error:
            self.counters.nonsense += 1
            pending.nonsense = error
            return
        if response.request_id == pending.number:
            pending.answer.set_result(response)
        else:
            self.counters.ignored += 1

    def error_received(self, exc: Exception) -> None:
        """Hear from the network that nobody listens there; a time-out come early."""
        pending = self._pending
        if pending is not None and not pending.answer.done():
            self.counters.silences += 1
            pending.answer.set_exception(LinkDownError(f"nobody listens at {self.address}: {exc}"))
