"""Whether the server is alive, and whether it can work; neither needs a key."""

from __future__ import annotations

import anyio
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vmpool import __version__
from vmpool.api import answers
from vmpool.api.schemas import Health, Readiness
from vmpool.api.services import Services
from vmpool.errors import VMPoolError

router = APIRouter(tags=["server"])

ENDING = "is ending: requests in progress are finished, none is taken"
PATIENCE = 5.0
"""Seconds each part has to answer."""


@router.get("/health", operation_id="health", summary="The server answers")
async def health() -> Health:
    """Liveness: always 200 while the process is up and serves, whatever it stands on.  Restarting a server
    helps only where this does not answer."""
    return Health(version=__version__)


@router.get(
    "/ready",
    operation_id="ready",
    summary="The server can do its work",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Something does not answer."}},
)
async def ready(request: Request) -> Response:
    """Readiness: 200 while the database and the backend answer, else 503 and what is wrong.  A server that
    is ending is not ready: what balances requests is to send it no more."""
    services = Services.of(request)
    if services.closing.is_set():
        return answers.send(Readiness(ready=False, checks={"server": ENDING}), 503)
    checks: dict[str, str] = {}
    for name, probe in services.probes.items():
        try:
            with anyio.fail_after(PATIENCE):
                await probe()
            checks[name] = "ok"
        except VMPoolError as error:
            checks[name] = error.message
        except TimeoutError:
            checks[name] = f"no answer within {PATIENCE:g} s"
    fine = all(result == "ok" for result in checks.values())
    return answers.send(Readiness(ready=fine, checks=checks), 200 if fine else 503)
