"""Routes of users' own templates.  `{template_id}` takes an id or a name everywhere."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.history import NEWEST_FIRST
from vmpool.api.idempotency import IdempotencyKey
from vmpool.api.paging import Paged, link_next
from vmpool.api.record import note
from vmpool.api.schemas import ChangeTemplate, CreateTemplate, Template, TemplateBuild
from vmpool.api.services import Services
from vmpool.api.vms import once
from vmpool.domain import Scope
from vmpool.domain.template_build import NewBuild
from vmpool.errors import InvalidRequest
from vmpool.store.templates import TemplateChanges

router = APIRouter(
    prefix="/api/templates", tags=["templates"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS
)

TemplateReference = Annotated[str, Path(max_length=63, description="The template's id or its name.")]


@router.post(
    "",
    status_code=201,
    operation_id="create_template",
    summary="Publish files as a template, or build one",
    response_model=Template,
    responses={
        202: {"model": TemplateBuild, "description": "With `steps`: it is being built."},
        **answers.refusals(
            e409="You have a template of this name, or as many as allowed.",
            e422="A field is wrong; `errors` names it.",
        ),
    },
)
async def create_template(
    request: Request, caller: Caller, body: CreateTemplate, idempotency_key: IdempotencyKey = None
) -> Response:
    """Of a VM or of one of its snapshots: it is yours, and stays when these are gone.

    With `steps` it is built: answers 202 with the build, whose log can be followed.
    """
    services = Services.of(request)
    pool = services.pool

    async def act() -> Response:
        if sum(source is not None for source in (body.vm_id, body.snapshot_id, body.steps)) != 1:
            raise InvalidRequest("vm_id", "send exactly one of vm_id, snapshot_id and steps")
        if body.steps is not None:
            begun = await pool.builds.begin(_new_build(caller.id, body), services.defaults.vm(body.vm()))
            note(request, target=f"build_id={begun.id}", name=begun.name)
            return answers.begun(begun)
        if body.base is not None:
            raise InvalidRequest("from", "is for steps only")
        if body.vm_id is not None:
            made = await pool.publish(caller.id, body.vm_id, body.name, body.description)
        else:
            assert body.snapshot_id is not None
            made = await pool.templates.publish_snapshot(
                caller.id, body.snapshot_id, body.name, body.description
            )
        note(request, target=f"template_id={made.id}", name=made.name)
        return answers.send(answers.template(made), 201)

    return await once(request, caller, idempotency_key, body, act)


def _new_build(user_id: int, body: CreateTemplate) -> NewBuild:
    if body.base is None:
        raise InvalidRequest("from", "is needed with steps: the template it begins with")
    return NewBuild(
        user_id=user_id,
        name=body.name,
        base=body.base,
        steps=tuple(step.step() for step in body.steps or ()),
        description=body.description,
        language=body.language,
        replace=body.replace,
        fresh=body.fresh,
    )


@router.get(
    "", operation_id="list_templates", summary="Your templates, and shared ones", responses=NEWEST_FIRST
)
async def list_templates(request: Request, response: Response, caller: Caller, page: Paged) -> list[Template]:
    """Newest first.  Built-in ones are in the pool's status."""
    templates = Services.of(request).pool.templates
    found = await templates.list(caller.id, limit=page.limit, before_id=page.before)
    link_next(request, response, page, [one.id for one in found])
    return [answers.template(one) for one in found]


@router.get("/{template_id}", operation_id="get_template", summary="One template")
async def get_template(request: Request, caller: Caller, template_id: TemplateReference) -> Template:
    """Your own of this name, else the shared one.  An unknown one and somebody else's are both 404."""
    return answers.template(await Services.of(request).pool.templates.get(caller.id, template_id))


@router.patch("/{template_id}", operation_id="change_template", summary="Describe or share a template")
async def change_template(
    request: Request, caller: Caller, template_id: TemplateReference, body: ChangeTemplate
) -> Template:
    """Your own.  Sharing takes an administrator: its files are in everybody's hands then."""
    changes = TemplateChanges()
    if body.description is not None:
        changes["description"] = body.description
    templates = Services.of(request).pool.templates
    if body.shared is not None:
        found = await templates.get(caller.id, template_id)
        if found.user_id == caller.id:
            caller.require(Scope.ADMIN)
        changes["shared"] = body.shared
    changed = await templates.change(caller.id, template_id, **changes)
    note(request, target=f"template_id={changed.id}", name=changed.name, shared=changed.shared)
    return answers.template(changed)


@router.delete("/{template_id}", status_code=204, operation_id="delete_template", summary="Remove a template")
async def delete_template(request: Request, caller: Caller, template_id: TemplateReference) -> None:
    """VMs that were made from it stay as they are."""
    await Services.of(request).pool.templates.delete(caller.id, template_id)
