"""Awaits in the functions of the six verbs that no scene has to reach, each with the reason.

Those in an `except` clause need no entry: they are on the way of a failure.  What is here must exist in the
source."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

OFF_THE_WAY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "a second caller waits for the first one's start": (
            "vmpool.agent.client:Client.start: await process.wait_started() (2)",
        ),
        "terminals, which no scene has": (
            "vmpool.agent.client:Client.start: await self._confirm_terminal(execution_id, spec.terminal)",
        ),
        "a connection that idles, breaks, or is no socket of this host": (
            "vmpool.agent.connection:Connection._keep_alive: await anyio.sleep(_HEARTBEAT_SECONDS) (2)",
            "vmpool.agent.connection:Connection._read: await self._stream.receive(_RECEIVE_BYTES)",
            "vmpool.agent.connection:Connection._flush: await self._stream.send(b''.join(self._outgoing))",
        ),
        "PostgreSQL, which no scene has": (
            "vmpool.store.events:Events.append: await self._database.write(work)",
        ),
        "secrets of a VM's own, which nothing here has": (
            "vmpool.pool.lifecycle:Lifecycle.destroy: await context.secrets.forget_vm(vm)",
            "vmpool.pool.secrets:Secrets.forget_vm: await self._rows.forget_vm(vm.id)",
            "vmpool.store.secrets:Secrets.forget_vm: await self._database.write(work)",
        ),
        "packages, which no scene installs": (
            "vmpool.pool.executions:Executions._carry: await self._packages.reachable(vm)",
            "vmpool.pool.vm_pool_manager:VMPoolManager.create_vm: await self._executions.execute(vm, asked)",
            (
                "vmpool.pool.vm_pool_manager:VMPoolManager.create_vm: "
                "await self._lifecycle.create(user_id, request, source, origin) (2)"
            ),
        ),
        "templates that are built, whose work is done behind the answer": (
            (
                "vmpool.api.templates:create_template.act: "
                "await pool.builds.begin(_new_build(caller.id, body), services.defaults.vm(body.vm()))"
            ),
        ),
        "files of the dashboard": (
            (
                "vmpool.api.browser.pages:Pages.__call__: "
                "await _answer(Response(NOT_BUILT, 404, media_type='text/html'), scope, receive, send)"
            ),
            "vmpool.api.browser.pages:Pages.__call__: await _send(page, scope, receive, send)",
        ),
        "traces that nobody collects": (
            "vmpool.api.observed:Observed.__call__: await self._app(scope, receive, sending)",
        ),
        "what is refused, cut short, or no HTTP request": (
            "vmpool.api.observed:Observed.__call__: await self._app(scope, receive, send)",
            "vmpool.api.edge:Edge.__call__: await respond(problem)(scope, receive, sending)",
            "vmpool.api.edge:Edge.__call__: await self._app(scope, receive, send)",
            "vmpool.api.sockets:Sockets.__call__: await self._let_in(socket)",
            (
                "vmpool.api.sockets:Sockets.__call__: "
                "await socket.accept(headers=[(b'x-request-id', request_id.encode())])"
            ),
            "vmpool.api.sockets:Sockets.__call__: await conversation.run()",
            (
                "vmpool.api.shortcut:ExecuteShortcut._execute: "
                "await self._app(scope, _again(bytes(text), receive), send)"
            ),
        ),
        "a body that is passed on as it comes": (
            "vmpool.api.edge:Edge.__call__: await self._app(scope, receive, sending)",
        ),
        "no Idempotency-Key, or one that is taken": (
            "vmpool.api.idempotency:Once.run: await act()",
            "vmpool.api.idempotency:Once.run: await ahead.wait()",
            (
                "vmpool.store.idempotency:Idempotency.claim: "
                "await self._database.read(partial(_claimed, values))"
            ),
        ),
        "a user with more Idempotency-Keys than are kept": (
            "vmpool.store.idempotency:Idempotency.keep_newest: await self._forget(user_id, chunk)",
        ),
        "a program that outlives its time, or is killed by the kernel for memory": (
            "vmpool.pool.executions:Executions._follow: await process.signal(signal.SIGKILL, tree=True)",
            "vmpool.pool.executions:Executions._follow: await self._consume(run, events, spool) (2)",
            "vmpool.pool.executions:Executions._oom_killed: await self._context.backend.usage(run.key)",
        ),
        "a database that did not take the row": (
            "vmpool.pool.executions:Executions._record: await anyio.sleep(RECORD_AGAIN)",
            "vmpool.store.executions:Executions._settle: await self.get(begun.vm_id, begun.id)",
            (
                "vmpool.store.vms:VMs.move: "
                "await self.transition(vm.id, (vm.state,), to, if_generation=vm.generation, **facts)"
            ),
        ),
        "as it happens: whether an execution's end comes before the verb asks for it": (
            "vmpool.pool.executions:Executions.settled: await run.recorded.wait()",
            "vmpool.pool.executions:Executions._record: await executions.lose(execution, failure, outcome)",
            "vmpool.agent.link:AgentLink._wait_for_demand: await self._demand.wait() (2)",
        ),
        "as it happens: whether two write at once": (
            "vmpool.store.sqlite:SQLite.write: await self._wait_for_turn(pending)",
        ),
        "somebody else's VM is being made": ("vmpool.pool.warm:Warmer._give_way: await anyio.sleep(SETTLE)",),
        "a full pool, or a spare that is given up while it is made": (
            "vmpool.pool.warm_pool.keeper:WarmPool.claim: await self._make_room()",
            "vmpool.pool.warm_pool.stock:Stock._make: await self.destroy(key)",
        ),
        "a machine that is made to wait": (
            "vmpool.backends.docker.making:Making.create: await spares.check(self._claims.standing[key])",
        ),
        "an image without our user": (
            "vmpool.backends.docker.making:Making.create: await container.put_archive('/', home_archive())",
        ),
        "a container that is there already, or is being removed": (
            "vmpool.backends.docker.making:Making.create: await self.start(key)",
            "vmpool.backends.docker.containers:create_or_find: await client.containers.get(name)",
            "vmpool.backends.docker.containers:create_or_find: await remove(client, name)",
        ),
        "a VM made from a snapshot that was deleted since": (
            (
                "vmpool.backends.docker.backend:DockerBackend.destroy: "
                "await snapshots.drop_if_forgotten(self._client, facts['Image'])"
            ),
        ),
        "as it happens: whether the agent listens at the first try": (
            "vmpool.backends.docker.dial:wait_for_agent: await anyio.sleep(pause)",
            "vmpool.backends.docker.dial:dial_agent: await dial_stub(container)",
            "vmpool.backends.docker.stub:_started: await stream.connected()",
            "vmpool.backends.docker.stub:_started: await stream.aclose() (2)",
        ),
        "an agent that does not end when it is asked to": (
            (
                "vmpool.backends.docker.backend:DockerBackend.stop: "
                "await end(container, init, self._containers.isolation(facts))"
            ),
        ),
        "a process the server may not end itself": (
            "vmpool.backends.docker.ending:end: await container.stop(t=0)",
        ),
        "the first VM of a pool": (
            (
                "vmpool.backends.docker.sources:Sources.agent_volume: "
                "await fill_agent_volume(self._client, self._pool_id, self._agent, image)"
            ),
        ),
    }
)


def off_the_way() -> frozenset[str]:
    """All of them."""
    return frozenset(point for points in OFF_THE_WAY.values() for point in points)
