"""The application: routes, edge and error answers over one server's parts."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Scope

from vmpool import __version__
from vmpool.api import (
    audit,
    contexts,
    errors,
    executions,
    file_changes,
    files,
    happenings,
    health,
    history,
    keys,
    metrics,
    network,
    overview,
    runs,
    secrets,
    snapshots,
    streams,
    template_builds,
    templates,
    users,
    vms,
    webhooks,
)
from vmpool.api.bodies import MAX_BODY_BYTES, Bodies, is_streamed
from vmpool.api.browser import routes as browser
from vmpool.api.browser.pages import Pages
from vmpool.api.browser.sessions import SessionCookies, Sessions
from vmpool.api.edge import Edge, open_path
from vmpool.api.observed import Observed
from vmpool.api.ports import routes as ports
from vmpool.api.ports.hosts import ShareHosts
from vmpool.api.ports.site import ShareSite
from vmpool.api.record import Recorder
from vmpool.api.schemas.files import FileChange
from vmpool.api.schemas.template_builds import BuildOutput
from vmpool.api.scopes import NEEDED
from vmpool.api.services import Services
from vmpool.api.shortcut import ExecuteShortcut
from vmpool.api.sockets import Sockets

SHARE_MAX_SECONDS = 30 * 24 * 3600
DESCRIPTION = """A pool of isolated virtual machines for running code.

Every path but `/health`, `/ready`, `/openapi.json`, the dashboard's own files and, by setting, `/metrics`
needs `Authorization: Bearer <key>`, or a browser's session (docs/dashboard.md).  Errors are RFC 9457
problems with a `code` from a closed list (docs/errors.md).  Collections are bare arrays, newest first,
paged by `limit`, `cursor` and the `Link` header."""


def create_app(
    services: Services,
    *,
    max_body: int = MAX_BODY_BYTES,
    max_bodies: int | None = None,
    access_log: bool = False,
    share_site: ShareSite | None = None,
    share_max: int = SHARE_MAX_SECONDS,
) -> ASGIApp:
    """The ASGI application.

    max_body: bytes a request's body may have.  max_bodies: those of one user's requests at the same time;
    None: four times as many.  access_log: write a line for each request.  share_site: where links to VMs'
    ports lead; None: there are none.  share_max: seconds for which they may be made.
    """
    app = routes()
    app.state.services = services
    sessions = app.state.sessions = Sessions()
    app.state.share_site, app.state.share_max = share_site, share_max
    record = Recorder(services.store.audit)
    bodies = Bodies(max_body, max_bodies)

    def is_open(scope: Scope) -> bool:
        return open_path(scope) or (services.open_metrics and metrics.asked_from_here(scope))

    app.add_middleware(
        Edge,
        authenticate=services.authenticator,
        record=record,
        bodies=bodies,
        is_open=is_open,
        is_streamed=lambda scope: is_streamed(scope) or ports.is_streamed(scope),
    )
    errors.install(app)
    sockets = Sockets(app, services, record)
    served: ASGIApp = ExecuteShortcut(sockets, services, record, bodies)
    served = Pages(SessionCookies(served, sessions))
    if share_site is not None:
        served = ShareHosts(served, share_site, services.pool, services.authenticator, record)
    return Observed(served, services.telemetry, access_log=access_log)


def routes() -> FastAPI:
    """The application without its parts: enough for the OpenAPI document."""
    app = _Documented(
        title="vmpool",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # the pages they serve load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (
        health.router,
        metrics.router,
        vms.router,
        history.router,
        snapshots.router,
        runs.router,
        executions.router,
        streams.router,
        contexts.router,
        templates.router,
        template_builds.router,
        network.router,
        files.router,
        file_changes.router,
        ports.router,
        keys.router,
        users.router,
        happenings.router,
        webhooks.router,
        secrets.router,
        overview.router,
        audit.router,
        browser.router,
    ):
        app.include_router(router)
    return app


_OF_EVENTS = (BuildOutput, FileChange)
"""What only events carry, which FastAPI does not look at."""


class _Documented(FastAPI):
    """An application whose OpenAPI document names the scope that each operation needs."""

    def openapi(self) -> dict[str, Any]:
        made_before = self.openapi_schema is not None
        document = super().openapi()
        if not made_before:
            document["components"]["schemas"] |= {
                model.__name__: model.model_json_schema() for model in _OF_EVENTS
            }
            for methods in document["paths"].values():
                for operation in methods.values():
                    for requirement in operation.get("security", ()):
                        for scheme in requirement:  # OpenAPI 3.1: names of roles, for any kind of scheme
                            requirement[scheme] = [NEEDED[operation["operationId"]]]
        return document


def openapi() -> dict[str, Any]:
    """The OpenAPI document, as committed in `spec/openapi.json`."""
    return routes().openapi()
