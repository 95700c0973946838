"""Desired states over HTTP."""

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter, SkipValidation
from litestar.types import ControllerRouterHandler

from fleet.control_room import ControlRoom
from fleet.desired_answers import DesiredAnswer, DesiredRequest, VersionAnswer

VERSIONS_MAX = 1_000

Room = NamedDependency[SkipValidation[ControlRoom]]
Gateway = Annotated[str, PathParameter(description="Gateway id, such as gw-darcy", max_length=40)]


@get("/api/desired", summary="Every gateway's desired state", tags=["Desired state"])
async def desired(room: Room) -> list[DesiredAnswer]:
    """Of every gateway that has one or has reported one, beside what is reported."""
    return await room.desired.show_all()


@get("/api/desired/{gateway:str}", summary="One gateway's desired state", tags=["Desired state"])
async def desired_of(room: Room, gateway: Gateway) -> DesiredAnswer:
    """Each setting with what has become of it in the cabinet."""
    return await room.desired.show(gateway)


@get("/api/desired/{gateway:str}/history", summary="Earlier desired states", tags=["Desired state"])
async def history_of(
    room: Room,
    gateway: Gateway,
    limit: Annotated[int, QueryParameter(description="The newest so many", ge=1, le=VERSIONS_MAX)] = 20,
) -> list[VersionAnswer]:
    """The newest generations, newest first."""
    return await room.desired.history(gateway, limit)


@post("/api/desired/{gateway:str}", summary="Change it", tags=["Desired state"], status_code=200)
async def change(room: Room, gateway: Gateway, data: JSONBody[DesiredRequest]) -> DesiredAnswer:
    """Sign the next generation and send it; a gateway that is away gets it when it connects. The cabinet judges."""
    return await room.desired.change(gateway, data)


HANDLERS: list[ControllerRouterHandler] = [desired, desired_of, history_of, change]
