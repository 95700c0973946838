"""The HTTP API. Typed both ways; every error is one sentence that says what happened and what to do."""

import asyncio
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import structlog
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, InternalServerException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import JSONBody, PathParameter, QueryParameter, SkipValidation
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp, ControllerRouterHandler

from fleet.answers import (
    ApprovalRequest,
    CommandAnswer,
    CommandRequest,
    DistrictAnswer,
    EquipmentAnswer,
    ErrorAnswer,
    EventAnswer,
    GatewayAnswer,
    HealthAnswer,
    SampleAnswer,
)
from fleet.broadcast import BROWSERS_MAX, END
from fleet.control_room import ControlRoom
from fleet.desired_api import HANDLERS as DESIRED_HANDLERS
from fleet.enrolment import Enrolments
from fleet.enrolment_api import HANDLERS as ENROLMENT_HANDLERS
from fleet.errors import AskError
from fleet.lead_api import HANDLERS as LEAD_HANDLERS
from fleet.origin import Origins, guarded
from fleet.store import EVENTS_MAX, HISTORY_MAX

HEARTBEAT_S = 10.0
"""A comment on a silent stream proves to browser and proxies that silence means "nothing changed"."""
BODY_BYTES_MAX = 65_536
COMMANDS_MAX = 1_000
CONSOLE = Path(__file__).parent / "console"
DESCRIPTION = """The fleet manager of a city's street cabinets: what is seen, what happened, and commands.

Every value carries quality and age. Commands are judged in the cabinet: any verb is passed on, and the answer names the
rule that refused it. There is no login yet: keep this address on the control room's own machine."""

Room = NamedDependency[SkipValidation[ControlRoom]]
Gateway = Annotated[str, PathParameter(description="Gateway id, such as gw-darcy", max_length=40)]
Equipment = Annotated[str, PathParameter(description="Equipment id", max_length=40)]
SomeGateway = Annotated[str, QueryParameter(description="Only this gateway's", max_length=40)]
SomeEquipment = Annotated[str, QueryParameter(description="Only this equipment's", max_length=40)]


@get("/api/district", summary="Everything now", tags=["State"])
async def district(room: Room) -> DistrictAnswer:
    """Every gateway and every piece of equipment with all its points."""
    return room.district()


@get("/api/gateways", summary="Every gateway", tags=["State"])
async def gateways(room: Room) -> list[GatewayAnswer]:
    """Links, backlog, rejections."""
    return room.gateways()


@get("/api/equipment/{gateway:str}/{equipment:str}", summary="One piece of equipment", tags=["State"])
async def one_equipment(room: Room, gateway: Gateway, equipment: Equipment) -> EquipmentAnswer:
    """Its points with quality and age, mode and latch."""
    return room.equipment(gateway, equipment)


@get("/api/equipment/{gateway:str}/{equipment:str}/history", summary="A point's history", tags=["State"])
async def history(
    room: Room,
    gateway: Gateway,
    equipment: Equipment,
    point: Annotated[str, QueryParameter(description="Point name, such as power_w", max_length=120)],
    since_ms: Annotated[int, QueryParameter(description="Unix ms; 0 for all", ge=0, le=2**62)] = 0,
    limit: Annotated[int, QueryParameter(description="The newest so many", ge=1, le=HISTORY_MAX)] = 1_000,
) -> list[SampleAnswer]:
    """The newest values, oldest first."""
    room.equipment(gateway, equipment)
    return await room.history((gateway, equipment), point, since_ms, limit)


@get("/api/events", summary="What happened", tags=["State"])
async def events(
    room: Room,
    limit: Annotated[int, QueryParameter(ge=1, le=EVENTS_MAX)] = 100,
    gateway: SomeGateway = "",
    equipment: SomeEquipment = "",
) -> list[EventAnswer]:
    """The newest events, newest first. ``stream`` and ``seq`` say where one is sealed; ``fleet`` is the manager's own."""
    return await room.events(limit, gateway, equipment)


@get("/api/commands", summary="Commands", tags=["Commands"])
async def commands(
    room: Room,
    limit: Annotated[int, QueryParameter(ge=1, le=COMMANDS_MAX)] = 50,
    gateway: SomeGateway = "",
) -> list[CommandAnswer]:
    """The newest commands, newest first."""
    return await room.newest_commands(limit, gateway)


@get("/api/commands/{command_id:str}", summary="One command", tags=["Commands"])
async def one_command(
    room: Room, command_id: Annotated[str, PathParameter(description="Its id", max_length=40)]
) -> CommandAnswer:
    """How it stands."""
    return await room.command(command_id)


@post("/api/commands", summary="Ask a cabinet for something", tags=["Commands"], status_code=200)
async def send(room: Room, data: JSONBody[CommandRequest]) -> CommandAnswer:
    """Sign, send, and wait up to ``wait_s`` for the cabinet's signed outcome.

    Refused at once, with nothing kept for later, if the gateway is not connected. A class R3 verb (``flash``) waits for
    a second operator's approval first.
    """
    return await room.commands.wait(await room.commands.issue(data), data.wait_s)


@post(
    "/api/commands/{command_id:str}/approve", summary="Approve as a second person", tags=["Commands"], status_code=200
)
async def approve(
    room: Room,
    command_id: Annotated[str, PathParameter(description="Its id", max_length=40)],
    data: JSONBody[ApprovalRequest],
) -> CommandAnswer:
    """Sign the waiting command too, send it, and wait up to ``wait_s`` for the outcome."""
    approved = await room.commands.approve(command_id, data.operator, dry_run=data.dry_run)
    return await room.commands.wait(approved, data.wait_s)


@get("/api/operators", summary="Who may act", tags=["Commands"])
async def operators(room: Room) -> list[str]:
    """Names of the operators whose keys are held here and believed by the key list in force."""
    return room.operators.names()


@get("/api/health", summary="How the manager is", tags=["Service"])
async def health(room: Room) -> HealthAnswer:
    """``ok``, or ``degraded`` and why."""
    return room.health()


@get("/metrics", summary="Figures for Prometheus", tags=["Service"], media_type="text/plain; version=0.0.4")
async def metrics(room: Room) -> bytes:
    """Counters and gauges."""
    return room.metrics.text()


@get("/api/stream", summary="Live updates", tags=["State"], response_headers={"X-Accel-Buffering": "no"})
async def stream(room: Room) -> ServerSentEvent:
    """Server-sent events ``points``, ``event``, ``command``, ``gateway``, and ``resync``: fetch the district again.

    Listen first, then fetch the district, and nothing is missed.
    """
    if len(room.broadcast) >= BROWSERS_MAX:
        raise AskError(503, f"{BROWSERS_MAX} consoles are listening already: close one")
    return ServerSentEvent(_messages(room))


async def _messages(room: ControlRoom) -> AsyncIterator[ServerSentEventMessage]:
    if len(room.broadcast) >= BROWSERS_MAX:  # Others came in the same moment: the page tries again by itself.
        return
    with room.broadcast.listening() as queue:
        yield ServerSentEventMessage(comment="listening", data=None)
        while True:  # Until the browser leaves or the manager ends.
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    name, text = await queue.get()
            except TimeoutError:
                yield ServerSentEventMessage(comment="heartbeat", data=None)
                continue
            if name == END:
                return
            yield ServerSentEventMessage(event=name, data=text)


def _said(request: Request[Any, Any, Any], error: AskError) -> Response[ErrorAnswer]:
    del request
    return _error(error.status, str(error))


def _malformed(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorAnswer]:
    """A request outside the schema, or a path that is not there."""
    if error.status_code == 404:
        return _error(404, f"nothing at {request.url.path}; the API is described at /schema")
    extra = error.extra if isinstance(error.extra, list) else []
    problems = [f"{each.get('key', '')}: {each.get('message', '')}" for each in extra if isinstance(each, dict)]
    if problems == ["data: 'data'"]:  # How the framework says that there is none.
        problems = ["the body is empty; send a JSON object"]
    return _error(error.status_code, "; ".join([str(error.detail).partition(" for ")[0], *problems]))


def _too_deep(request: Request[Any, Any, Any], error: RecursionError) -> Response[ErrorAnswer]:
    del request, error
    return _error(400, "the body is nested too deeply")


def _not_text(request: Request[Any, Any, Any], error: UnicodeDecodeError) -> Response[ErrorAnswer]:
    del request, error
    return _error(400, "the body is not UTF-8")


def _no_such_file(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorAnswer]:
    """A path no file system takes: a NUL in it, a name too long, a file where a folder would be."""
    del error
    return _error(404, f"nothing at {request.url.path[:200]!r}; the API is described at /schema")


def _unforeseen(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorAnswer]:
    structlog.get_logger("api").error("request.failed", path=request.url.path, exc_info=error)
    return _error(500, "an error of the manager's own; nothing is known to have been sent. It is in its log")


def _error(status: int, text: str) -> Response[ErrorAnswer]:
    return Response(ErrorAnswer(text), status_code=status, media_type=MediaType.JSON)


def make_app(room: ControlRoom, origins: Origins, joining: Enrolments | None = None) -> ASGIApp:
    """The whole web application: API, console, and Leaflet's own files. Nobody can join without ``joining``."""
    leaflet = Path(str(resources.files("js_lib_leaflet"))) / "static" / "js_lib_leaflet"
    static: list[ControllerRouterHandler] = [
        create_static_files_router(
            path="/leaflet",
            directories=[leaflet],
            cache_control=CacheControlHeader(max_age=86_400),
            include_in_schema=False,
            exception_handlers={ValueError: _no_such_file, InternalServerException: _no_such_file},
        ),
        create_static_files_router(
            path="/",
            directories=[CONSOLE],
            html_mode=True,
            cache_control=CacheControlHeader(no_cache=True),
            include_in_schema=False,
            exception_handlers={ValueError: _no_such_file, InternalServerException: _no_such_file},
        ),
    ]
    handlers: list[ControllerRouterHandler] = [
        district, gateways, one_equipment, history, events, commands, one_command, send, approve, operators, health,
        metrics, stream, *LEAD_HANDLERS, *DESIRED_HANDLERS, *ENROLMENT_HANDLERS,
    ]  # fmt: skip
    app = Litestar(
        route_handlers=[*handlers, *static],
        dependencies={
            "room": Provide(lambda: room, sync_to_thread=False),
            "joining": Provide(lambda: joining, sync_to_thread=False),
        },
        exception_handlers={
            AskError: _said,
            HTTPException: _malformed,
            RecursionError: _too_deep,
            UnicodeDecodeError: _not_text,
            Exception: _unforeseen,
        },
        openapi_config=OpenAPIConfig(
            title="Armoire fleet manager",
            version="1",
            description=DESCRIPTION,
            path="/schema",
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        ),
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
    )
    return guarded(app, origins)
