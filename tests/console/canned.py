"""A manager that only knows canned answers: the HTTP API the console speaks, on a real socket, under the test's control."""

import asyncio
import contextlib
import json
import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Self

import uvicorn
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.exceptions import HTTPException
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp

import fleet
from tests.console import district

CONSOLE = Path(fleet.__file__).parent / "console"
POLICY = "default-src 'self'"  # Stricter than the manager's own: what runs under this runs there.
BEAT_S = 0.1
OUTCOMES = {
    "raise": ("refused", "SR-19", "loop A is occupied", "The bollard stays down."),
    "lower": ("done", "", "", "The bollard is down."),
    "flash": ("awaiting-approval", "", "", ""),
}


@asynccontextmanager
async def serving(app: ASGIApp, end_streams: Callable[[], None], port: int = 0) -> AsyncIterator[str]:
    """Serve an application on this loop; gives its address."""
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="error", ws="none", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        end_streams()
        server.should_exit = True
        async with asyncio.timeout(5):
            await task
        listener.close()


class CannedFleet:
    """Serves one district; ``publish`` reaches every open page."""

    def __init__(self) -> None:
        self.district = district.district()
        self.events = district.events()
        self.commands: list[dict[str, Any]] = []
        self.posted: list[dict[str, Any]] = []
        self.pages: set[asyncio.Queue[tuple[str, Any]]] = set()
        self.is_beating = True
        self.beaten = asyncio.Event()
        self.port = 0
        self._serving: AbstractAsyncContextManager[str] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Serve on the same port as before, if there was one."""
        self._serving = serving(_app(self), self._end_streams, self.port)
        self.port = int((await self._serving.__aenter__()).rpartition(":")[2])

    async def stop(self) -> None:
        """Go away; open streams end."""
        if self._serving is not None:
            serving_, self._serving = self._serving, None
            await serving_.__aexit__(None, None, None)

    def _end_streams(self) -> None:
        for page in self.pages:
            page.put_nowait(("end", None))

    def publish(self, name: str, message: Any) -> None:
        for page in self.pages:
            page.put_nowait((name, message))

    async def stream(self) -> AsyncIterator[ServerSentEventMessage]:
        page: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(maxsize=1000)
        self.pages.add(page)
        try:
            while True:  # Until the page leaves.
                try:
                    name, message = await asyncio.wait_for(page.get(), BEAT_S)
                except TimeoutError:
                    if self.is_beating:
                        self.beaten.set()
                        yield ServerSentEventMessage(comment="beat")
                    continue
                if name == "end":
                    return
                yield ServerSentEventMessage(event=name, data=json.dumps(message))
        finally:
            self.pages.discard(page)

    def judge(self, command: dict[str, Any]) -> dict[str, Any]:
        self.posted.append(command)
        status, rule, reason, state = OUTCOMES.get(
            command["verb"], ("refused", "SR-01", f"no such verb '{command['verb']}'", "")
        )
        if command.get("dry_run"):
            return {
                "command_id": "",
                "status": "dry-run",
                "rule": "",
                "reason": "it would be signed and sent",
                "state": "",
            }
        outcome = {
            **command, "command_id": f"c-{len(self.posted)}", "status": status, "rule": rule, "reason": reason,
            "state": state, "issued_ms": district.now_ms(),
        }  # fmt: skip
        self.commands.append(outcome)
        return outcome


def _answers(canned: CannedFleet) -> list[Any]:
    @get("/api/district")
    async def get_district() -> dict[str, Any]:
        return {**canned.district, "t_ms": district.now_ms()}

    @get("/api/operators")
    async def get_operators() -> list[str]:
        return ["alice", "bruno"]

    @get("/api/events")
    async def get_events(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        wanted = {name: request.query_params[name] for name in ("equipment", "gateway") if name in request.query_params}
        return [each for each in canned.events if all(each[name] == value for name, value in wanted.items())]

    @get("/api/commands")
    async def get_commands() -> list[dict[str, Any]]:
        return canned.commands

    @get("/api/equipment/{gateway:str}/{id_:str}/history")
    async def get_history(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        times = range(int(request.query_params["since_ms"]), district.now_ms(), 20_000)
        return [
            {"t_ms": t_ms, "value": round(60 + 20 * math.sin(n / 7), 1), "quality": 2 if 15 < n < 20 else 0}
            for n, t_ms in enumerate(times)
        ]

    @post("/api/commands")
    async def post_command(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return canned.judge(await request.json())

    @post("/api/commands/{id_:str}/approve")
    async def post_approval(request: Request[Any, Any, Any]) -> dict[str, Any]:
        approver = (await request.json())["operator"]
        command = next(each for each in canned.commands if each["command_id"] == request.path_params["id_"])
        if approver == command["operator"]:
            raise HTTPException(status_code=409, detail="a different operator must approve")
        command.update(status="done", approvers=[approver], state="The junction flashes.")
        return command

    @get("/api/stream", response_headers=[ResponseHeader(name="Cache-Control", value="no-store")])
    async def get_stream() -> ServerSentEvent:
        if not canned.is_beating:
            raise HTTPException(status_code=503, detail="not now")
        return ServerSentEvent(canned.stream())

    return [
        get_district, get_operators, get_events, get_commands, get_history, post_command, post_approval, get_stream,
    ]  # fmt: skip


def _app(canned: CannedFleet) -> Litestar:
    leaflet = files("js_lib_leaflet") / "static" / "js_lib_leaflet"
    with as_file(leaflet) as folder:
        routers = [
            create_static_files_router("/leaflet", directories=[folder]),
            create_static_files_router("/", directories=[CONSOLE], html_mode=True),
        ]

    def add_policy(response: Response[Any]) -> Response[Any]:
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return Litestar([*_answers(canned), *routers], openapi_config=None, after_request=add_policy)
