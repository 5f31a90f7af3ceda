"""The application: routes, edge and error answers over one server's parts."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Scope

from vmpool import __version__
from vmpool.api import errors, health, history, keys, metrics, vms
from vmpool.api.edge import MAX_BODY_BYTES, Edge, open_path
from vmpool.api.observed import Observed
from vmpool.api.services import Services
from vmpool.api.shortcut import ExecuteShortcut

DESCRIPTION = """A pool of isolated virtual machines for running code.

Every path but `/health`, `/ready`, `/openapi.json` and, by setting, `/metrics` needs
`Authorization: Bearer <key>`.  Errors are RFC 9457 problems with a `code` from a closed list
(docs/errors.md).  Collections are bare arrays, newest first, paged by `limit`, `cursor` and the `Link`
header."""


def create_app(services: Services, *, max_body: int = MAX_BODY_BYTES, access_log: bool = False) -> ASGIApp:
    """The ASGI application.

    max_body: bytes a request's body may have.  access_log: write a line for each request.
    """
    app = routes()
    app.state.services = services

    def is_open(scope: Scope) -> bool:
        return open_path(scope) or (services.open_metrics and metrics.asked_from_here(scope))

    app.add_middleware(Edge, authenticate=services.authenticator, max_body=max_body, is_open=is_open)
    errors.install(app)
    shortcut = ExecuteShortcut(app, services, services.authenticator, max_body)
    return Observed(shortcut, services.telemetry, access_log=access_log)


def routes() -> FastAPI:
    """The application without its parts: enough for the OpenAPI document."""
    app = FastAPI(
        title="vmpool",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # the pages they serve load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (health.router, metrics.router, vms.router, history.router, keys.router):
        app.include_router(router)
    return app


def openapi() -> dict[str, Any]:
    """The OpenAPI document, as committed in `spec/openapi.json`."""
    return routes().openapi()
