"""Commands over the templates' images of the Docker backend."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Build and list the images of the Docker backend.")
