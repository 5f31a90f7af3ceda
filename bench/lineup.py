"""Who takes part: everything this machine has.  What cannot start is named with its reason, not left out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bench import peer_environment
from bench.contenders import names
from bench.contenders.bare import BareNodeOfImage, bare_node, bare_python, on_host
from bench.contenders.base import Contender
from bench.contenders.cells import JupyterKernel, VMPoolCells
from bench.contenders.docker import DockerAPI, DockerCLI, DockerCLINoNetwork, DockerRun, docker_program, sweep
from bench.contenders.floors import Forking, OneRow
from bench.contenders.peers import KNOWN, Peer
from bench.contenders.vmpool import VMPool, VMPoolSDK
from bench.contenders.work import DockerWork, VMPoolWork
from bench.program import NODEJS
from bench.run import Run
from bench.server import COLD, Server, running_server


@contextmanager
def lineup(run: Run, wanted: Callable[[str], bool]) -> Iterator[None]:
    """Fills `run.contenders` with those whose name is `wanted`; all are closed on the way out."""
    with ExitStack() as stack:
        builder = _Builder(run, wanted, stack)
        builder.pools()
        builder.kernel()
        if docker_program():
            stack.callback(sweep)
            for kind in (DockerCLI, DockerCLINoNetwork, DockerAPI, DockerRun, DockerWork):
                builder.add(kind.name, kind)
            builder.peers()
        else:
            run.absent["docker and the peers"] = "there is no docker command"
        yield


class _Builder:
    def __init__(self, run: Run, wanted: Callable[[str], bool], stack: ExitStack) -> None:
        self._run = run
        self._wanted = wanted
        self._stack = stack

    def add(self, name: str, make: Callable[[], Contender | None]) -> Contender | None:
        """Make a contender if it is wanted; None, with the reason kept, when that fails."""
        if not self._wanted(name):
            return None
        self._run.say(f"starting {name}")
        try:
            contender = make()
        except Exception as error:  # whatever keeps it from starting is the reason
            self._run.absent[name] = f"{type(error).__name__}: {error}"[:300]
            return None
        if contender is None:
            self._run.absent[name] = "not on this machine"
            return None
        self._stack.callback(contender.close)
        self._run.contenders.append(contender)
        return contender

    def pools(self) -> None:
        """vmpool on every backend; the bare interpreter and the forking one, which are the VM's own."""
        on_bubblewrap = (
            names.BUBBLEWRAP,
            names.BUBBLEWRAP_SDK,
            names.NODE_BUBBLEWRAP,
            names.CELLS_BUBBLEWRAP,
            names.WORK_BUBBLEWRAP,
        )
        on_docker = (
            names.DOCKER,
            names.DOCKER_SDK,
            names.NODE_DOCKER,
            names.CELLS_DOCKER,
            names.WORK_DOCKER,
        )
        bubblewrap = self._server("bubblewrap", *on_bubblewrap)
        docker = self._server("docker", *on_docker, settings=COLD)
        crun = self._server("docker", names.CRUN, settings={"DOCKER__RUNTIME": "crun", **COLD})
        interpreter = _interpreter(bubblewrap) if bubblewrap else "/usr/bin/python3"
        self.add(names.BARE, partial(bare_python, interpreter))
        self.add(names.FORKING, partial(Forking, on_host(interpreter)))
        self.add(names.ONE_ROW, OneRow)
        self.add(names.BARE_NODE, bare_node)
        if docker is not None:
            self.add(names.BARE_NODE_OF_IMAGE, BareNodeOfImage)
        for server, (rest, sdk, node, cells, work) in ((bubblewrap, on_bubblewrap), (docker, on_docker)):
            if server is not None:
                self.add(rest, partial(VMPool, rest, server))
                self.add(sdk, partial(VMPoolSDK, sdk, server))
                self.add(node, partial(VMPool, node, server, NODEJS))
                self.add(cells, partial(VMPoolCells, cells, server))
                self.add(work, partial(VMPoolWork, work, server))
        if crun is not None:
            self.add(names.CRUN, partial(VMPool, names.CRUN, crun))

    def kernel(self) -> None:
        """The kernel of the peers' environment, which needs no docker."""
        if self._wanted(names.KERNEL):
            self.add(names.KERNEL, lambda: JupyterKernel(peer_environment.environment(self._run.say)))

    def peers(self) -> None:
        """Other people's, if any is wanted: their environment takes a while to make the first time."""
        if not any(self._wanted(name) for name, _, _ in KNOWN):
            return
        try:
            interpreter = peer_environment.environment(self._run.say)
            image = peer_environment.image(self._run.say)
        except (OSError, subprocess.CalledProcessError) as error:
            self._run.absent["the peers"] = f"{error}"[:300]
            return
        for name, key, mode in KNOWN:
            self.add(name, partial(Peer, name, key, interpreter, image, mode))

    def _server(self, backend: str, *users: str, settings: dict[str, str] | None = None) -> Server | None:
        """A server for the contenders named `users`; None when none is wanted or it does not start."""
        if not any(self._wanted(name) for name in users):
            return None
        self._run.say(f"starting a server for {users[0]}")
        try:
            return self._stack.enter_context(running_server(backend, settings))
        except (OSError, RuntimeError) as error:
            for name in users:
                self._run.absent[name] = str(error)[-300:]
            return None


def _interpreter(server: Server) -> str:
    """Path of the interpreter in a VM."""
    pool = VMPool("probe", server)
    try:
        pool.prepare(1)
        return pool.interpreter()
    finally:
        pool.close()
