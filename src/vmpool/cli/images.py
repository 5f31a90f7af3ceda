"""Commands over the templates' images of the Docker backend."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption
from vmpool.client import local

if TYPE_CHECKING:
    from vmpool.backends.docker.images import Progress, Report
    from vmpool.settings import Docker

app = typer.Typer(no_args_is_help=True, help="Build and list the images of the Docker backend.")

SourceOption = Annotated[
    Literal["auto", "registry", "packages"],
    typer.Option(help="Where Debian comes from: an image registry, Debian's packages, or what works."),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show what the builds print.")]


@app.command()
def base(
    releases: Annotated[
        list[str] | None, typer.Argument(metavar="RELEASE...", help="Debian releases. Default: all needed.")
    ] = None,
    source: SourceOption = "auto",
    verbose: VerboseOption = False,
) -> None:
    """Make the base images that the templates stand on; needs no registry.

    \b
    vm images base
    vm images base bookworm --source packages
    """
    import anyio

    engine = _engine()
    from vmpool.backends.docker.images import build_bases

    async def build(report: Report) -> tuple[str, ...]:
        return await build_bases(
            releases or (), host=engine.host, image_prefix=engine.image_prefix, source=source, report=report
        )

    with _Shown(verbose) as shown:
        made = anyio.run(build, shown.report)
    for image in made:
        render.say(image)


@app.command()
def build(
    templates: Annotated[
        list[str] | None, typer.Argument(metavar="TEMPLATE...", help="Default: all of them.")
    ] = None,
    source: SourceOption = "auto",
    verbose: VerboseOption = False,
) -> None:
    """Build the templates' images, and their bases where those are missing.

    \b
    vm images build
    vm images build python nodejs
    """
    import anyio

    engine = _engine()
    from vmpool.backends.docker.images import build_images

    async def build_all(report: Report) -> tuple[str, ...]:
        return await build_images(
            templates or (), host=engine.host, image_prefix=engine.image_prefix, source=source, report=report
        )

    with _Shown(verbose) as shown:
        made = anyio.run(build_all, shown.report)
    for image in made:
        render.say(image)


@app.command(name="list")
def list_(as_json: JSONOption = False) -> None:
    """List the templates and the images they have on the engine."""
    import anyio

    engine = _engine()
    from vmpool.backends.docker.engine import connected, find_image
    from vmpool.backends.docker.errors import docker_errors
    from vmpool.backends.docker.images import release_of, templates

    async def look() -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        with docker_errors("list the images"):
            async with connected(engine.host) as client:
                for name in templates():
                    image = f"{engine.image_prefix}{name}"
                    found = await find_image(client, image)
                    built = None if found is None else str(found.get("Created", ""))
                    rows.append(
                        {"template": name, "debian": release_of(name), "image": image, "built": built}
                    )
        return rows

    rows = anyio.run(look)
    if as_json:
        render.show_json(rows)
        return
    missing = "missing: 'vm images build'"
    shown = ({**row, "built": missing if row["built"] is None else str(row["built"])[:10]} for row in rows)
    render.table(("template", "debian", "image", "built"), (list(row.values()) for row in shown))


def _engine() -> Docker:
    """The settings of the Docker backend, from where the server has them."""
    local.require_server()
    from vmpool.settings import load_settings

    return load_settings().docker


class _Shown:
    """Progress of builds: a spinner with the present step on a terminal, else a line for each image."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._stack = ExitStack()

    def __enter__(self) -> _Shown:
        self._step = self._stack.enter_context(render.steps("building images ..."))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def report(self, progress: Progress) -> None:
        """Take note of one thing that happened."""
        match progress.kind:
            case "started":
                render.note(f"{progress.image}: {progress.text}")
            case "done":
                render.note(f"{progress.image}: done")
            case _ if self._verbose:
                render.note(f"{progress.image}: {progress.text}")
            case _:
                self._step(f"{progress.image}: {progress.text}")
