"""Enrolment over HTTP: the gateway's side in the shape of EST (RFC 7030), the operators' as JSON.

EST's authentication is ours: no password travels, the one-time code proves request and answer (docs/wire.md §12).
"""

import base64
from typing import Annotated, Any

import msgspec
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509 import load_pem_x509_certificates
from litestar import Request as HttpRequest
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, RawBody, SkipValidation
from litestar.types import ControllerRouterHandler

from agent.wire import enrolment
from agent.wire.enrolment import SERIAL_LENGTH_MAX
from fleet.control_room import ControlRoom
from fleet.enrolment import Enrolments, Request
from fleet.errors import AskError

RETRY_S = 5
PROOF_HEADER = "Armoire-Proof"
BODY_BYTES_MAX = 32_768
Texts = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Joining = NamedDependency[SkipValidation[Enrolments | None]]
Room = NamedDependency[SkipValidation[ControlRoom]]
RequestId = Annotated[str, PathParameter(description="Its id", max_length=40)]


class CodeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks for a code, for which cabinet."""

    gateway: Texts
    operator: Texts
    serial: Annotated[str, msgspec.Meta(max_length=SERIAL_LENGTH_MAX)] = ""
    dry_run: bool = False


class CodeAnswer(msgspec.Struct, frozen=True):
    """A one-time code, shown once; of a dry run it is empty."""

    gateway: str
    code: str
    until_ms: int
    is_dry_run: bool = False


class DecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's decision; ``words`` are needed to approve."""

    operator: Texts
    words: Annotated[str, msgspec.Meta(max_length=200)] = ""
    dry_run: bool = False


class RequestAnswer(msgspec.Struct, frozen=True):
    """A gateway that wants to join; of a dry run as it would be."""

    id: str
    gateway: str
    words: str
    kids: list[str]
    t_ms: int
    state: str
    by: str
    decided_ms: int
    serial: str = ""
    is_dry_run: bool = False


@post("/.well-known/est/simpleenroll", summary="Ask to join", tags=["Enrolment"], status_code=200, sync_to_thread=True)
def simpleenroll(joining: Joining, request: HttpRequest[Any, Any, Any], body: RawBody) -> Response[bytes]:
    """RFC 7030 §4.2: a PKCS #10 request in; 202 while it waits for an operator, then the certificate as PKCS #7."""
    _check_length(body)
    taken = _open(joining).enrol(body, request.headers.get(PROOF_HEADER, ""))
    if taken.state == "refused":
        raise AskError(403, "an operator has refused this request")
    if taken.state == "waiting":
        text = f"waiting for an operator to compare the six words; request {taken.id}"
        headers = {"Retry-After": str(RETRY_S), "Armoire-Request": taken.id}
        return Response(text.encode(), status_code=202, media_type="text/plain", headers=headers)
    return _pkcs7(taken.certificate.encode(), {"Armoire-Request": taken.id})


@post("/.well-known/est/simplereenroll", summary="Renew", tags=["Enrolment"], status_code=200, sync_to_thread=True)
def simplereenroll(joining: Joining, request: HttpRequest[Any, Any, Any], body: RawBody) -> Response[bytes]:
    """RFC 7030 §4.2.2: a request whose statement is signed by the agent's registered key. It may have expired.

    With ``Accept: application/json`` the answer is the papers, so that a newer key list comes along.
    """
    _check_length(body)
    papers = _open(joining).renew(body)
    structlog.get_logger("enrolment").info("certificate.renewed")
    if request.headers.get("accept", "") == "application/json":
        return Response(papers, media_type="application/json")
    return _pkcs7(msgspec.json.decode(papers, type=enrolment.Papers).certificate.encode(), {})


@get("/.well-known/est/cacerts", summary="The authority's certificates", tags=["Enrolment"], sync_to_thread=True)
def cacerts(joining: Joining) -> Response[bytes]:
    """RFC 7030 §4.1: root and issuing authority. Believe them only if you know them by another way."""
    found = _open(joining).ca_certificates()
    data = pkcs7.serialize_certificates(found, serialization.Encoding.DER)
    return Response(base64.encodebytes(data), media_type="application/pkcs7-mime; smime-type=certs-only")


@get("/api/enrolment/{request_id:str}/papers", summary="Fetch what joins", tags=["Enrolment"], sync_to_thread=True)
def papers(joining: Joining, request_id: RequestId) -> Response[bytes]:
    """Roots, key list, authority and certificate of an approved gateway, with the proof of the code's holder."""
    body, proof = _open(joining).papers(request_id)
    return Response(body, media_type="application/json", headers={PROOF_HEADER: proof})


@get("/api/enrolment", summary="Who wants to join", tags=["Enrolment"], sync_to_thread=True)
def enrolments(joining: Joining) -> list[RequestAnswer]:
    """Oldest first."""
    return [_answer(each) for each in _open(joining).all()]


@post("/api/enrolment/codes", summary="A one-time code", tags=["Enrolment"], status_code=200, sync_to_thread=True)
def make_code(joining: Joining, room: Room, data: JSONBody[CodeRequest]) -> CodeAnswer:
    """For one cabinet, for an hour, for one request. Tell it to the technician by another way."""
    room.operators.named(data.operator)
    code = _open(joining).make_code(data.gateway, data.operator, data.serial, dry_run=data.dry_run)
    if data.dry_run:
        return CodeAnswer(code.gateway, "", code.until_ms, is_dry_run=True)
    structlog.get_logger("enrolment").info("code.made", gateway=code.gateway, by=data.operator)
    return CodeAnswer(code.gateway, enrolment.show_code(code.secret), code.until_ms)


@post(
    "/api/enrolment/{request_id:str}/approve",
    summary="Let in",
    tags=["Enrolment"],
    status_code=200,
    sync_to_thread=True,
)
def let_in(joining: Joining, room: Room, request_id: RequestId, data: JSONBody[DecisionRequest]) -> RequestAnswer:
    """Certify it, if the words are those the technician reads at the cabinet. Earlier certificates are revoked."""
    return _decide(joining, room, request_id, data, approve=True)


@post(
    "/api/enrolment/{request_id:str}/refuse", summary="Refuse", tags=["Enrolment"], status_code=200, sync_to_thread=True
)
def refuse(joining: Joining, room: Room, request_id: RequestId, data: JSONBody[DecisionRequest]) -> RequestAnswer:
    """Its code is used up."""
    return _decide(joining, room, request_id, data, approve=False)


HANDLERS: list[ControllerRouterHandler] = [
    simpleenroll, simplereenroll, cacerts, papers, enrolments, make_code, let_in, refuse,
]  # fmt: skip


def _decide(
    joining: Enrolments | None, room: ControlRoom, request_id: str, data: DecisionRequest, *, approve: bool
) -> RequestAnswer:
    room.operators.named(data.operator)
    decided = _open(joining).decide(request_id, data.operator, data.words, approve=approve, dry_run=data.dry_run)
    if data.dry_run:
        return msgspec.structs.replace(_answer(decided), is_dry_run=True)
    log = structlog.get_logger("enrolment")
    log.info("request.decided", state=decided.state, gateway=decided.gateway, by=decided.by, words=decided.words)
    return _answer(decided)


def _open(joining: Enrolments | None) -> Enrolments:
    if joining is None:
        raise AskError(503, "this manager has no certificate authority: start it with serve --ca DIR")
    return joining


def _check_length(body: bytes) -> None:
    if len(body) > BODY_BYTES_MAX:
        raise AskError(413, f"a request is at most {BODY_BYTES_MAX} bytes")


def _pkcs7(pem: bytes, headers: dict[str, str]) -> Response[bytes]:
    data = pkcs7.serialize_certificates(load_pem_x509_certificates(pem), serialization.Encoding.DER)
    media = "application/pkcs7-mime; smime-type=certs-only"
    return Response(base64.encodebytes(data), media_type=media, headers=headers)


def _answer(request: Request) -> RequestAnswer:
    kids = [key.kid for key in request.keys]
    return RequestAnswer(
        request.id,
        request.gateway,
        request.words,
        kids,
        request.t_ms,
        request.state,
        request.by,
        request.decided_ms,
        request.serial,
    )
