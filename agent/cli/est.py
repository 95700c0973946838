"""The fleet's enrolment address, as a gateway talks to it: EST's paths (RFC 7030) over HTTP. Standard library only.

Neither address nor line is trusted: the code proves an enrolment's answer, and what a renewal brings is checked against
what the gateway holds.
"""

import base64
import http.client
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from agent.cli.ending import Exit, TechnicianError, UnreachableError, UsageError
from agent.cli.words import clean
from agent.wire import enrolment
from agent.wire.enrolment import Papers

TIMEOUT_S = 20.0
ANSWER_BYTES_MAX = 8_000_000
PROOF_HEADER = "Armoire-Proof"
NOTHING = "the gateway is as it was"


class EnrolmentRefusedError(TechnicianError):
    """The fleet said no."""

    exit = Exit.REFUSED


@dataclass(frozen=True, slots=True)
class Waiting:
    """An operator has not decided yet.

    Args:
        retry_s: when to ask again, 1..60.
    """

    retry_s: int


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class EnrolmentAddress:
    """Where a fleet manager takes enrolments.

    Raises:
        UsageError: not an address.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"{clean(url)!r} is no address: {error}", NOTHING) from error
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise UsageError(f"expected http://host:port or https://host:port, found {clean(url)!r}", NOTHING)
        self._host, self._port, self._is_tls = parts.hostname, port, parts.scheme == "https"

    def enrol(self, request: bytes, code: bytes) -> Papers | Waiting:
        """Send a certificate request (DER), or ask how it stands.

        Raises:
            EnrolmentRefusedError: the code does not fit, is over or used, or an operator refused.
            UnreachableError: nobody answers, or not in our language, or the answer is not from who gave the code.
        """
        headers = {PROOF_HEADER: enrolment.request_proof(code, request)}
        answer = self._ask("POST", "/.well-known/est/simpleenroll", headers, request)
        if answer.status == 202:
            retry = answer.headers.get("Retry-After", "")
            return Waiting(min(60, max(1, int(retry))) if retry.isascii() and retry.isdecimal() else 15)
        self._check(answer)
        request_id = answer.headers.get("Armoire-Request", "")
        if not (request_id.isascii() and request_id.isalnum()):
            raise UnreachableError("the fleet did not name the request", NOTHING)
        answer = self._ask("GET", f"/api/enrolment/{request_id}/papers", {}, b"")
        self._check(answer)
        proof = answer.headers.get(PROOF_HEADER, "")
        if not enrolment.is_proof(proof, enrolment.papers_proof(code, request, answer.body)):
            raise UnreachableError(
                "the answer does not come from who gave you the code", NOTHING, "tell the control room, then try again"
            )
        return _papers(answer.body)

    def renew(self, request: bytes) -> Papers:
        """Ask for a certificate for a new TLS key.

        Raises:
            EnrolmentRefusedError: the signing key is not registered any more.
            UnreachableError: nobody answers, or not in our language.
        """
        answer = self._ask("POST", "/.well-known/est/simplereenroll", {"Accept": "application/json"}, request)
        self._check(answer)
        return _papers(answer.body)

    def _ask(self, method: str, path: str, headers: dict[str, str], request: bytes) -> _Answer:
        connection: http.client.HTTPConnection
        if self._is_tls:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        body = base64.encodebytes(request) if request else None
        if body is not None:
            headers = {**headers, "Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            data = reply.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise UnreachableError(f"{self._host} does not answer: {clean(str(error))}", NOTHING) from error
        finally:
            connection.close()
        if len(data) > ANSWER_BYTES_MAX:
            raise UnreachableError(f"{self._host} answers without end", NOTHING)
        return _Answer(reply.status, reply.headers, data)

    @staticmethod
    def _check(answer: _Answer) -> None:
        if answer.status == 200:
            return
        try:
            told = msgspec.json.decode(answer.body, type=dict[str, str]).get("detail", "")
        except (msgspec.DecodeError, UnicodeDecodeError):
            told = f"the address answers with status {answer.status}"
        if answer.status in {401, 403, 404, 409}:
            raise EnrolmentRefusedError(f"the fleet refuses: {clean(told)}", NOTHING)
        raise UnreachableError(f"the fleet cannot: {clean(told)}", NOTHING, "try again later")


def _papers(body: bytes) -> Papers:
    try:
        return msgspec.json.decode(body, type=Papers)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreachableError(f"the fleet answers in another language: {error}", NOTHING) from error
