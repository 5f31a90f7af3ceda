"""Commands over webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption
from vmpool.cli.status import FAILED

if TYPE_CHECKING:
    from vmpool.client.models import NewWebhook

app = typer.Typer(no_args_is_help=True, help="Have events sent to a URL, signed.")

WebhookArgument = Annotated[int, typer.Argument(metavar="ID", help="From 'vm webhooks list'.")]
TypeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="Only these events, as in vm.error, or all of vm, execution, snapshot; may be repeated.",
    ),
]


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="http or https, at a public address.")],
    kind: TypeOption = None,
    as_json: JSONOption = False,
) -> None:
    """Have what happens from now on sent to URL; the secret is printed this once.

    \b
    vm webhooks create https://example.org/hook --type vm.error --type execution.lost
    """
    from vmpool.client import Client

    with Client() as client:
        _show_secret(client.webhooks.create(url, kind or ()), as_json)


@app.command(name="list")
def list_(as_json: JSONOption = False) -> None:
    """List your webhooks, without their secrets."""
    from vmpool.client import Client

    with Client() as client:
        found = client.webhooks.list()
    if as_json:
        render.show_json(found)
    else:
        render.table(
            ("id", "url", "types", "state", "created"),
            (
                (
                    one.id,
                    one.url,
                    " ".join(one.types) or "all",
                    one.disabled_because
                    or (f"failing since {one.failing_since:%Y-%m-%d %H:%M}" if one.failing_since else "ok"),
                    render.ago(one.created_at),
                )
                for one in found
            ),
        )


@app.command()
def update(
    webhook: WebhookArgument,
    url: Annotated[str | None, typer.Option(metavar="URL")] = None,
    kind: TypeOption = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it is sent anything.")
    ] = None,
) -> None:
    """Change where it is sent, what, and whether."""
    from vmpool.client import Client

    with Client() as client:
        client.webhooks.change(webhook, url=url, types=kind or None, enabled=enable)


@app.command()
def delete(webhook: WebhookArgument) -> None:
    """Send it nothing more."""
    from vmpool.client import Client

    with Client() as client:
        client.webhooks.delete(webhook)


@app.command()
def rotate(webhook: WebhookArgument, as_json: JSONOption = False) -> None:
    """Make another secret, which holds at once."""
    from vmpool.client import Client

    with Client() as client:
        _show_secret(client.webhooks.rotate(webhook), as_json)


@app.command()
def test(webhook: WebhookArgument, as_json: JSONOption = False) -> None:
    """Send it something now; exit status 1 where it does not arrive."""
    from vmpool.client import Client

    with Client() as client:
        done = client.webhooks.test(webhook)
    if as_json:
        render.show_json(done)
    else:
        render.say(f"{done.stage}: {done.problem or f'answered {done.status}'}, in {done.seconds:.2f} s")
    if done.stage != "delivered":
        raise typer.Exit(FAILED)


@app.command()
def deliveries(
    webhook: WebhookArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="At most.", min=1)] = 50,
    as_json: JSONOption = False,
) -> None:
    """Show what was sent to it, newest first."""
    from vmpool.client import Client

    with Client() as client:
        found = client.webhooks.deliveries(webhook, limit)
    if as_json:
        render.show_json(found)
    else:
        render.table(
            ("time", "event", "type", "try", "stage", "answer", "seconds"),
            (
                (
                    one.time.strftime("%Y-%m-%d %H:%M:%S"),
                    one.event_id,
                    one.type,
                    one.attempt,
                    one.stage,
                    one.problem or one.status,
                    f"{one.seconds:.2f}",
                )
                for one in found
            ),
        )


def _show_secret(made: NewWebhook, as_json: bool) -> None:
    if as_json:
        render.show_json(made)
    else:
        render.note(f"vm: webhook {made.id}; its secret, shown this once:")
        render.say(made.secret)
