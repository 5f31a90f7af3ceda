"""Routes of one's own webhooks."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.history import NEWEST_FIRST
from vmpool.api.paging import Paged, link_next
from vmpool.api.record import note
from vmpool.api.schemas import CreateWebhook, Delivery, NewWebhook, UpdateWebhook, Webhook
from vmpool.api.schemas.base import Id
from vmpool.api.services import Services

router = APIRouter(
    prefix="/api/webhooks", tags=["webhooks"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS
)


@router.post("", status_code=201, operation_id="create_webhook", summary="Have events sent to a URL")
async def create_webhook(request: Request, caller: Caller, body: CreateWebhook) -> NewWebhook:
    """Those that happen from now on, in order.  Its secret is in this answer and nowhere else."""
    webhook, secret = await Services.of(request).pool.webhooks.create(caller.id, body.url, body.types)
    note(request, target=f"webhook_id={webhook.id}", url=body.url, types=body.types)
    return answers.new_webhook(webhook, secret)


@router.get("", operation_id="list_webhooks", summary="Your webhooks")
async def list_webhooks(request: Request, caller: Caller) -> list[Webhook]:
    """Newest first; without their secrets."""
    return [answers.webhook(one) for one in await Services.of(request).pool.webhooks.list(caller.id)]


@router.get("/{webhook_id}", operation_id="get_webhook", summary="One webhook")
async def get_webhook(request: Request, caller: Caller, webhook_id: Id) -> Webhook:
    """`failing_since` says whether anything arrives, `disabled_because` why nothing is sent."""
    return answers.webhook(await Services.of(request).pool.webhooks.get(caller.id, webhook_id))


@router.patch("/{webhook_id}", operation_id="update_webhook", summary="Change a webhook")
async def update_webhook(request: Request, caller: Caller, webhook_id: Id, body: UpdateWebhook) -> Webhook:
    """Its URL, its types, or whether it is sent anything."""
    changed = await Services.of(request).pool.webhooks.change(
        caller.id, webhook_id, url=body.url, types=body.types, enabled=body.enabled
    )
    note(request, **body.model_dump(exclude_none=True))
    return answers.webhook(changed)


@router.delete("/{webhook_id}", status_code=204, operation_id="delete_webhook", summary="Remove a webhook")
async def delete_webhook(request: Request, caller: Caller, webhook_id: Id) -> None:
    """It is sent nothing more."""
    await Services.of(request).pool.webhooks.delete(caller.id, webhook_id)


@router.post("/{webhook_id}/rotate", operation_id="rotate_webhook", summary="Another secret for a webhook")
async def rotate_webhook(request: Request, caller: Caller, webhook_id: Id) -> NewWebhook:
    """All that is sent from now on is signed with it, what is tried again included."""
    return answers.new_webhook(*await Services.of(request).pool.webhooks.rotate(caller.id, webhook_id))


@router.post("/{webhook_id}/test", operation_id="test_webhook", summary="Send a webhook something now")
async def test_webhook(request: Request, caller: Caller, webhook_id: Id) -> Delivery:
    """Of type `webhook.test`, once; the answer says what came of it."""
    return answers.delivery(await Services.of(request).pool.webhooks.test(caller.id, webhook_id))


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="list_deliveries",
    summary="What was sent to a webhook",
    responses=NEWEST_FIRST,
)
async def list_deliveries(
    request: Request, response: Response, caller: Caller, webhook_id: Id, page: Paged
) -> list[Delivery]:
    """Each try, newest first; the last 200 are kept."""
    found = await Services.of(request).pool.webhooks.deliveries(
        caller.id, webhook_id, limit=page.limit, before_id=page.before
    )
    link_next(request, response, page, [delivery.id for delivery in found])
    return [answers.delivery(delivery) for delivery in found]
