"""The command that runs a server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from vmpool.cli import render
from vmpool.cli.status import FAILED
from vmpool.client import local


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Where it listens. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one. Default: 8321.")] = None,
    backend: Annotated[
        Literal["auto", "docker", "bubblewrap", "fake"] | None,
        typer.Option(help="Where VMs come from. Default: auto.", show_default=False),
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where it keeps its state.", file_okay=False, show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings.", exists=True, dir_okay=False)
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM file: serve HTTPS with it.", exists=True, dir_okay=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM file with the certificate's key.", exists=True, dir_okay=False)
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once it answers; it goes on in the background.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the server of this state directory. Its VMs stay.")
    ] = False,
) -> None:
    """Run a server on this machine.

    Its settings come from these options, else from `VMPOOL_*` variables, else from a TOML file.

    \b
    vm serve
    vm serve --backend docker --port 9000
    vm serve --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem
    vm serve --detach
    vm serve --stop
    """
    options = {
        name: str(value)
        for name, value in (
            (local.HOST_VARIABLE, host),
            (local.PORT_VARIABLE, port),
            ("VMPOOL_BACKEND", backend),
            (local.STATE_VARIABLE, state_dir and state_dir.absolute()),
            ("VMPOOL_CONFIG", config and config.absolute()),
            ("VMPOOL_LISTEN__TLS_CERTIFICATE", tls_certificate and tls_certificate.absolute()),
            ("VMPOOL_LISTEN__TLS_KEY", tls_key and tls_key.absolute()),
        )
        if value is not None
    }
    directory = state_dir.absolute() if state_dir else local.default_state_dir()
    if stop:
        _stop(directory)
    elif detach:
        _detach(directory, options)
    else:
        local.require_server()
        os.environ.update(options)
        sys.stdout.flush()
        # The server's own process from the first moment: signals reach it, and nothing of ours stays in it.
        os.execv(sys.executable, local.SERVER_COMMAND)


def _detach(directory: Path, options: dict[str, str]) -> None:
    found = local.running(directory)
    if found is not None:
        render.say(f"a server is running already at {found.url}")
        return
    with render.busy("starting a server ..."):
        found = local.start(directory, options)
    render.say(f"the server is running at {found.url}; its log is {directory / 'server.log'}")


def _stop(directory: Path) -> None:
    with render.busy("stopping the server ..."):
        stopped = local.stop(directory)
    if not stopped:
        render.note(f"no server is running on {directory}")
        raise typer.Exit(FAILED)
    render.say("the server has stopped; its VMs stay")
