"""The composition root: the only place that knows all parts.  `python -m vmpool.app` runs a server.

One stack holds everything a server has open, from the lock on its state directory to the pool, and closes
it in the opposite order.  VMs are not among it: they go on running, and the next server finds them.
"""

from __future__ import annotations

import gc
import ipaddress
import logging
import math
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from vmpool import allocator, server_log
from vmpool.api.auth import Authenticator, Rates
from vmpool.api.idempotency import KeptKeys, Once, settle_interrupted
from vmpool.api.ports.site import ShareSite
from vmpool.api.requests import Defaults
from vmpool.api.server import create_app
from vmpool.api.services import Services
from vmpool.backend_choice import open_backend
from vmpool.domain import Limits
from vmpool.domain.rate import Rate
from vmpool.errors import InvalidRequest, VMPoolError
from vmpool.http_server import HTTPServer, listen, raise_open_files, url_of
from vmpool.network.limits import NetworkLimits
from vmpool.network.rules import admissions
from vmpool.packages import upstreams
from vmpool.packages.depot import Bounds as FetchBounds
from vmpool.pool.settings import (
    NetworkSettings,
    PackageSettings,
    PoolSettings,
    TemplateSettings,
    WebhookSettings,
)
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.warm_pool.bounds import Bounds
from vmpool.service_manager import ServiceManager
from vmpool.settings import Settings, load_settings
from vmpool.store import Store, open_store
from vmpool.store.statedir import StateDirectory
from vmpool.telemetry import Telemetry
from vmpool.tls import server_context

logger = logging.getLogger(__name__)

TRACES_SECONDS = 5.0
"""How long the end of a server waits for a collector to take the last spans."""
OWNER = "owner"
"""Name of the user a server makes for whoever started it."""


def serve(settings: Settings) -> None:
    """Run a server until SIGTERM or SIGINT.  Raises VMPoolError where it cannot start."""
    open_files = raise_open_files()
    with (
        StateDirectory(settings.state_dir) as directory,
        listen(settings.listen.host, settings.listen.port) as listener,
    ):
        tls = server_context(settings.listen)
        anyio.run(
            _serve, settings, directory, listener, tls, open_files, backend_options={"use_uvloop": True}
        )


async def _serve(
    settings: Settings,
    directory: StateDirectory,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    open_files: int,
) -> None:
    url, manager = url_of(listener, tls=tls is not None), ServiceManager()
    site = share_site(settings, url)
    async with opened(settings, directory) as services:
        app = create_app(
            services,
            max_body=settings.listen.max_body,
            max_bodies=settings.listen.max_bodies,
            access_log=settings.listen.access_log,
            share_site=site,
            share_max=settings.ports.share_max,
        )
        server = HTTPServer(
            app,
            services.closing,
            drain=settings.listen.drain,
            # the other half is for VMs, the database and files
            max_connections=min(settings.listen.max_connections, open_files // 2),
            tls=tls,
            trusted_proxies=settings.listen.trusted_proxies,
            share_site=site,
        )

        async def ending() -> None:
            await services.closing.wait()
            manager.stopping()
            logger.info("the server is ending: requests in progress get %g s", settings.listen.drain)

        async def listening() -> None:
            await to_thread.run_sync(directory.announce, url, settings.listen.tls_certificate)
            await to_thread.run_sync(_greet, url, directory, services)
            _spare_the_collector()
            manager.ready()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ending)
            await server.run(listener, listening)
            tasks.cancel_scope.cancel()
        if server.hurried:
            services.pool.hurry()
        await to_thread.run_sync(directory.withdraw)


@asynccontextmanager
async def opened(settings: Settings, directory: StateDirectory) -> AsyncIterator[Services]:
    """Everything the routes stand on: database, backend and pool, open until the block ends."""
    async with (
        telemetry_of(settings) as telemetry,
        open_store(settings.database, committed=telemetry.metrics.commits.observe) as store,
        open_backend(settings, directory, store) as (backend, reason),
        VMPoolManager(
            store, backend, pool_settings(settings), state_dir=directory.path, telemetry=telemetry
        ) as pool,
        Once(store.idempotency, kept_keys(settings)) as once,
    ):
        await settle_interrupted(store.idempotency)
        if settings.auth.owner_key:
            await ensure_owner(store, directory)
        yield Services(
            pool=pool,
            store=store,
            authenticator=Authenticator(store.keys, rates=rates(settings)),
            once=once,
            defaults=defaults(settings),
            backend_reason=reason,
            open_metrics=settings.metrics.open_on_loopback,
            telemetry=telemetry,
            probes={"database": lambda: store.vms.census(0), "backend": backend.describe},
        )


@asynccontextmanager
async def telemetry_of(settings: Settings) -> AsyncIterator[Telemetry]:
    """Counters, and the tracer the settings ask for; InvalidRequest where its packages are missing."""
    if settings.traces.exporter == "none":
        yield Telemetry()
        return
    try:
        from vmpool.otel import open_tracer
    except ImportError as error:
        raise InvalidRequest("traces.exporter", "needs: pip install 'vmpool[otel]'") from error
    tracer = await to_thread.run_sync(open_tracer, settings.traces)
    try:
        yield Telemetry(tracer=tracer)
    finally:
        with anyio.move_on_after(TRACES_SECONDS, shield=True):
            await to_thread.run_sync(tracer.close, abandon_on_cancel=True)


def pool_settings(settings: Settings) -> PoolSettings:
    """The pool's part of the settings tree."""
    limits, periods, retention = settings.limits, settings.periods, settings.retention
    return PoolSettings(
        isolation=settings.isolation,
        strict_limits=limits.strict_limits,
        max_vms_per_user=limits.max_vms_per_user,
        max_total_vms=limits.max_total_vms,
        memory_overcommit=limits.memory_overcommit,
        host_memory=limits.host_memory,
        disk_capacity=limits.disk_capacity,
        max_cpu=limits.max_cpu_limit,
        max_memory=limits.max_memory_limit,
        max_disk=limits.max_disk_limit,
        default_timeout=limits.default_timeout,
        max_timeout=limits.max_execution_time,
        max_background=limits.max_background_time,
        max_in_flight=limits.max_executions_in_flight,
        max_code=limits.max_code,
        max_stdin=limits.max_stdin,
        max_output=settings.output.inline_limit,
        keep_output_of_vm=settings.output.vm_limit,
        keep_output=settings.output.total_limit,
        keep_output_share=settings.output.user_share,
        keep_free=settings.output.min_free,
        warm_spares=settings.warm.spares,
        warm_start=settings.warm.start,
        warm_idle=settings.warm.idle_seconds,
        warm_pool=warm_pool_bounds(settings),
        network=network_settings(settings),
        webhooks=WebhookSettings(
            admit=admissions("webhooks.admit", settings.webhooks.admit), timeout=settings.webhooks.timeout
        ),
        packages=package_settings(settings),
        templates=TemplateSettings(
            settings.templates.per_user,
            settings.templates.bytes_per_user,
            settings.templates.cache_per_user,
        ),
        create_timeout=periods.create_timeout,
        stop_grace=periods.stop_grace,
        cleanup_timeout=periods.cleanup_timeout,
        reconcile_every=periods.reconcile_every,
        expire_every=periods.expire_every,
        keep_age=retention.age.total_seconds(),
        keep_executions=retention.count,
        keep_bytes=retention.bytes,
        keep_audit=retention.audit.total_seconds(),
        keep_audit_entries=retention.audit_count,
        keep_events=retention.events_count,
        keep_events_age=retention.events_age.total_seconds(),
    )


def kept_keys(settings: Settings) -> KeptKeys:
    """What is kept of each user's idempotency keys."""
    retention = settings.retention
    return KeptKeys(retention.idempotency_count, retention.idempotency_bytes)


def network_settings(settings: Settings) -> NetworkSettings:
    """The networks' part; InvalidRequest where `network.admit` has what is no address."""
    asked = settings.network
    return NetworkSettings(
        limits=NetworkLimits(
            max_connections=asked.max_connections,
            connections_per_second=asked.connections_per_second,
            max_bytes=asked.max_bytes,
            idle_timeout=asked.idle_timeout,
            connect_timeout=asked.connect_timeout,
        ),
        admit=admissions("network.admit", asked.admit),
        direct_ports=asked.direct_ports,
        log_entries=asked.log_entries,
    )


def package_settings(settings: Settings) -> PackageSettings:
    """The packages' part; InvalidRequest where an upstream is no URL of a registry."""
    asked = settings.packages
    bounds = FetchBounds(fresh=asked.fresh, max_file=asked.max_file, timeout=asked.timeout)
    found: dict[str, str | None] = {}
    if asked.enabled:
        home = os.environ.get("HOME")
        for name, named in (
            ("pypi", asked.pypi),
            ("npm", asked.npm),
            ("cargo", asked.cargo),
            ("gem", asked.gem),
        ):
            if named is None:
                found[name] = upstreams.configured(name, os.environ, Path(home) if home else None)
            else:
                found[name] = upstreams.upstream(f"packages.{name}", named)
    return PackageSettings(found, asked.without_network, asked.cache_bytes, bounds)


def warm_pool_bounds(settings: Settings) -> Bounds:
    """The warm pool's part: its VMs are made with the limits most requests ask for, those of the defaults."""
    asked = settings.warm_pool
    return Bounds(
        maximum=asked.maximum,
        minimum=asked.minimum,
        memory=asked.memory,
        interpreters=asked.interpreters,
        remember=asked.remember,
        at_once=asked.at_once,
        limits=default_limits(settings),
    )


def share_site(settings: Settings, url: str) -> ShareSite | None:
    """Where links to VMs' ports lead; None where no name is known to be this server's.  url: its own.

    Names below `localhost` lead to this machine by themselves.
    """
    if settings.ports.share_url is not None:
        return ShareSite.of(settings.ports.share_url)
    own = urlsplit(url)
    if not ipaddress.ip_address(own.hostname or "").is_loopback:
        return None
    return ShareSite(own.scheme, "localhost", f":{own.port}")


def rates(settings: Settings) -> Rates:
    """How fast may be asked."""
    asked = settings.rates
    return Rates(
        requests=Rate(asked.requests, asked.requests_burst) if asked.requests else None,
        failures=Rate(asked.failures, asked.failures_burst) if asked.failures else None,
    )


def default_limits(settings: Settings) -> Limits:
    """The limits of a VM whose request names none."""
    limits = settings.limits
    return Limits(
        cpu=limits.default_cpu_limit,
        memory=limits.default_memory_limit,
        disk=limits.default_disk_limit,
        processes=limits.process_limit,
    )


def defaults(settings: Settings) -> Defaults:
    """What a request gets that does not say."""
    return Defaults(
        limits=default_limits(settings),
        ttl=settings.lifetime.ttl,
        idle_timeout=settings.lifetime.idle_timeout,
        timeout=settings.limits.default_timeout,
        background=settings.limits.max_background_time or math.inf,
        network=settings.network.mode,
    )


async def ensure_owner(store: Store, directory: StateDirectory) -> None:
    """Give a server that nobody uses yet its owner, and a key that only they can read.

    While the owner is the only user and the key in the directory does not work, a new one is written: a
    server that died between making the key and writing it down must not lock its owner out.
    """
    if any(user.name != OWNER for user in await store.users.list()):
        return
    known = await to_thread.run_sync(lambda: directory.owner_key)
    if known is not None and await store.keys.authenticate(known) is not None:
        return
    owner = await store.users.ensure(OWNER, admin=True)
    _, secret = await store.keys.create(owner.id, "owner.key")
    await to_thread.run_sync(setattr, directory, "owner_key", secret)


def _spare_the_collector() -> None:
    """Modules, routes and schemas stay: a collection that walks them would hold up every request."""
    gc.collect()
    gc.freeze()


def _greet(url: str, directory: StateDirectory, services: Services) -> None:
    info = services.pool.backend_info
    lines = [
        f"vmpool serves at {url}",
        f"  backend  {info.name} ({info.isolation}, {info.grade}): {services.backend_reason}",
        f"  state    {directory.path}",
    ]
    if directory.owner_key is not None:
        lines.append(f"  API key  in {directory.path / 'owner.key'}")
    address = urlsplit(url)
    if address.scheme == "http" and not ipaddress.ip_address(address.hostname or "").is_loopback:
        lines.append("  note     this is HTTP without TLS: see listen.tls_certificate, or add it by a proxy")
    print("\n".join(lines), flush=True)  # noqa: T201 - a program's own words to whoever started it


def main() -> int:
    """Run a server with the settings of the environment and the configuration file; an exit status."""
    try:
        allocator.tune()
        settings = load_settings()
        server_log.configure(settings.log)
        serve(settings)
    except VMPoolError as error:
        print(f"vmpool: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
