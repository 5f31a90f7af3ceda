"""Figures for Prometheus, for an administrator's key; by setting also for who connects from loopback."""

from __future__ import annotations

import ipaddress

import anyio.to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from vmpool import __version__
from vmpool.api.answers import PROBLEMS
from vmpool.api.auth import KEY_NEEDED
from vmpool.api.services import Services
from vmpool.errors import Forbidden
from vmpool.telemetry.instruments import CONTENT_TYPE, exposition, gauge
from vmpool.telemetry.process import process_families

router = APIRouter(tags=["server"], dependencies=KEY_NEEDED, responses=PROBLEMS)

PATH = "/metrics"


@router.get(
    PATH,
    operation_id="metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Of all users together, so an administrator's key is needed, unless `metrics.open_on_loopback` is set
    and the connection comes from there."""
    caller = getattr(request.state, "caller", None)
    services = Services.of(request)
    freely = services.open_metrics and asked_from_here(request.scope)
    if not freely and not (caller is not None and caller.admin):
        raise Forbidden("this needs an administrator's key")
    process = await anyio.to_thread.run_sync(lambda: list(process_families()))
    return Response(
        exposition(
            (
                gauge(
                    "vmpool_info",
                    "The server, its version, backend and isolation.",
                    1,
                    version=__version__,
                    backend=services.pool.backend_info.name,
                    isolation=services.pool.backend_info.isolation,
                ),
                *services.telemetry.metrics.families(),
                *services.pool.families(),
                *process,
            )
        ),
        media_type=CONTENT_TYPE,
    )


def asked_from_here(scope: Scope) -> bool:
    """Whether it is these figures that are asked for, and the connection's other end is on this host."""
    client = scope.get("client")
    if scope["path"] != PATH or client is None:
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
