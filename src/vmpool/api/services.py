"""What the routes stand on, put together by `vmpool.app`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import anyio
from starlette.requests import Request

from vmpool.api.auth import Authenticator
from vmpool.api.idempotency import Once
from vmpool.api.requests import Defaults
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.store import Store
from vmpool.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Services:
    """One server's parts.

    defaults: what a request gets that does not say.  backend_reason: why this backend was chosen.
    probes: for `/ready`, each raises a VMPoolError when its part does not answer.  open_metrics: who
    connects from loopback reads `/metrics` without a key.  closing: set when the server stops accepting;
    streams without end then end.
    """

    pool: VMPoolManager
    store: Store
    authenticator: Authenticator
    once: Once
    defaults: Defaults
    backend_reason: str
    probes: Mapping[str, Callable[[], Awaitable[object]]]
    open_metrics: bool = False
    telemetry: Telemetry = field(default_factory=Telemetry)
    closing: anyio.Event = field(default_factory=anyio.Event)

    @classmethod
    def of(cls, request: Request) -> Services:
        """The parts of the server this request came to."""
        services: Services = request.app.state.services
        return services
