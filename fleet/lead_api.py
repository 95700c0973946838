"""The API between two managers, and by which a person hands over from one to the other."""

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter, SkipValidation

from fleet.answers import LeadAnswer, LeadRequest, LinksAnswer
from fleet.arrangement import ALONE
from fleet.catchup import links_after
from fleet.control_room import ControlRoom
from fleet.errors import AskError, StoreError

Room = NamedDependency[SkipValidation[ControlRoom]]
STANDBY, LEADING = "standby", "leading"


@post("/api/lead", summary="Take the lead, or give it up", tags=["Service"], status_code=200)
async def lead(room: Room, data: JSONBody[LeadRequest]) -> LeadAnswer:
    """Recorded with operator and reason, in the events and in the log. ``GET /api/health`` says how it came out."""
    room.operators.named(data.operator)
    leading, wants = room.leading, data.action == "take"
    now = leading.role()
    if wants == now.is_leading:
        raise AskError(409, f"{room.fleet} {'leads' if wants else 'stands by'} already; nothing was changed")
    if not wants and room.arrangement.kind == ALONE:
        raise AskError(409, "there is no lease to give up: ask the other manager to take the lead. Nothing was changed")
    if data.dry_run:
        return _answer(room, f"would {_done(room, wants=wants)}; nothing was changed")
    try:
        await (leading.take if wants else leading.give_up)(data.operator, data.reason)
    except StoreError as error:
        raise AskError(503, f"{error}; nothing was changed, or nobody knows: look at `armoire-fleet status`") from error
    return _answer(room, f"{room.fleet} will {_done(room, wants=wants)}")


@get("/api/links", summary="What a standby has missed", tags=["Service"])
async def links(
    room: Room,
    gateway: Annotated[str, QueryParameter(max_length=40)],
    stream: Annotated[str, QueryParameter(max_length=40)],
    epoch: Annotated[int, QueryParameter(ge=0, le=2**32)] = 0,
    seq: Annotated[int, QueryParameter(ge=0, le=2**62)] = 0,
) -> LinksAnswer:
    """Envelopes of one stream behind a place in it, oldest first, in base64, as their gateway signed them."""
    envelopes = await room.read(lambda connection: links_after(connection, gateway, stream, epoch, seq))
    return LinksAnswer(room.fleet, envelopes)


def _done(room: ControlRoom, *, wants: bool) -> str:
    if not wants:
        return "stop acting at once; another manager may take the lead, and if none does within 10 s this one takes it back"
    before = room.leading.role().leader
    return f"lead as soon as {before} has given it up" if before else "lead as soon as the lease is free"


def _answer(room: ControlRoom, text: str) -> LeadAnswer:
    return LeadAnswer(text, LEADING if room.leading.is_leading else STANDBY, room.term)


HANDLERS = [lead, links]
