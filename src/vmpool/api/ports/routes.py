"""Routes of a VM's ports, for those who have a key: HTTP to a server in it, tunnels, and links."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.ports.carrying import Watch
from vmpool.api.ports.exchange import Exchange
from vmpool.api.ports.headers import Visit
from vmpool.api.ports.site import ShareSite
from vmpool.api.ports.tunnel import Opened
from vmpool.api.record import note
from vmpool.api.schemas import Share, SharePort
from vmpool.api.services import Services
from vmpool.api.upgrade import protocol_asked_for
from vmpool.api.vms import VMReference
from vmpool.domain.tunnel import PROTOCOL
from vmpool.errors import InvalidRequest, NotFound

router = APIRouter(
    prefix="/api/vms/{vm_id}", tags=["ports"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS
)

Port = Annotated[int, Path(ge=1, le=65535, description="Of a server on the VM's own loopback.")]
Below = Annotated[str, Path(max_length=32768, description="What the server in the VM is asked for.")]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_RAW = re.compile(rb"(/api/vms/[^/]+/ports/\d+)(/.*)?", re.DOTALL)
_STREAMED = re.compile(r"/api/vms/[^/]+/ports/\d+(/.*)?", re.DOTALL)

ANYTHING: dict[int | str, dict[str, object]] = {
    200: {
        "description": "What the server in the VM answers: any status, any headers, any content.",
        "content": {"*/*": {}},
    },
    **answers.refusals(
        e409="The VM is not running.",
        e429="Too many connections to the VM's ports are open.",
        e502="Nothing listens there (`nothing_listens`), or it does not answer as HTTP (`bad_port_answer`).",
    ),
}


def is_streamed(scope: Scope) -> bool:
    """Whether a request's body is passed on as it comes."""
    return _STREAMED.fullmatch(scope["path"]) is not None


class _Passed(Response):
    """The answer is what a server in a VM says."""

    def __init__(self, request: Request, user_id: int, vm_id: str, port: int) -> None:
        super().__init__()
        self._request = request
        self._user_id = user_id
        self._vm_id = vm_id
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _RAW.fullmatch(scope["raw_path"])
        if path is None:  # an escaped slash in what names the VM or the port
            raise NotFound(scope["path"])
        services = Services.of(self._request)
        stream = await services.pool.connect(self._user_id, self._vm_id, self._port)
        query = scope["query_string"]
        headers = self._request.headers
        visit = Visit(
            port=self._port,
            host=headers.get("host", "").encode("latin-1"),
            scheme=scope["scheme"],
            client=scope["client"][0] if scope.get("client") else None,
            prefix=path[1],
        )
        exchange = Exchange(
            self._vm_id,
            stream,
            visit,
            (path[2] or b"/") + (b"?" + query if query else b""),
            Watch(partial(services.authenticator.confirm, headers.get("authorization"))),
        )
        await exchange.run(scope, receive, send)


async def _pass_on(request: Request, caller: Caller, vm_id: VMReference, port: Port, path: Below) -> Response:
    """The request as it is, but for what concerns this connection or this server only; the answer likewise.

    Bodies are streamed both ways. A request to change protocols (WebSocket) is passed on, and so is what
    follows. Your API key stays here; `X-Forwarded-*` say where the request came from.
    """
    return _Passed(request, caller.id, vm_id, port)


async def _pass_on_root(request: Request, caller: Caller, vm_id: VMReference, port: Port) -> Response:
    return _Passed(request, caller.id, vm_id, port)


for _method in METHODS:
    router.add_api_route(
        "/ports/{port}/{path:path}",
        _pass_on,
        methods=[_method],
        operation_id=f"{_method.lower()}_port",
        summary=f"Send a {_method} to a server in a VM",
        response_class=Response,
        responses=ANYTHING,
    )
    router.add_api_route(
        "/ports/{port}",
        _pass_on_root,
        methods=[_method],
        operation_id=f"{_method.lower()}_port",
        response_class=Response,
        include_in_schema=False,
    )
router.add_api_route(
    "/ports/{port}/{path:path}",
    _pass_on,
    methods=["HEAD"],
    operation_id="get_port",
    response_class=Response,
    include_in_schema=False,
)


@router.get(
    "/tunnels/{port}",
    status_code=101,
    operation_id="open_tunnel",
    summary="A TCP connection into a VM",
    responses={
        101: {
            "description": "Bytes follow both ways, in pieces: four bytes, the piece's length in network "
            "order, and as many bytes. A length of 0 is the end of that direction.",
        },
        **answers.refusals(
            e409="The VM is not running.",
            e426="The request does not ask for it: `Connection: Upgrade`, `Upgrade: vmpool-tunnel`.",
            e429="Too many connections to the VM's ports are open.",
            e502="Nothing listens there (`nothing_listens`).",
        ),
    },
)
async def open_tunnel(request: Request, caller: Caller, vm_id: VMReference, port: Port) -> Response:
    """What `vm forward` uses, one for each connection. It ends with the VM's machine, and with your key."""
    services = Services.of(request)
    await services.pool.get_vm(caller.id, vm_id)  # what is not there comes before how it is asked for
    if (protocol_asked_for(request.scope) or b"").lower() != PROTOCOL.encode():
        raise HTTPException(
            426, f"ask for 'Upgrade: {PROTOCOL}'", {"Upgrade": PROTOCOL, "Connection": "Upgrade"}
        )
    stream = await services.pool.connect(caller.id, vm_id, port)
    watch = Watch(
        partial(services.authenticator.confirm, request.headers.get("authorization")), services.closing
    )
    return Opened(stream, watch)


@router.post(
    "/shares/{port}",
    status_code=201,
    operation_id="share_port",
    summary="Make a link to a server in a VM",
    responses=answers.refusals(e422="A field is wrong, or this server has no host names for links."),
)
async def share_port(
    request: Request, caller: Caller, vm_id: VMReference, port: Port, body: SharePort | None = None
) -> Share:
    """Whoever has the link reaches the port, and nothing else, with any browser or HTTP client, until it
    expires, is revoked, or the VM is deleted. It is told once."""
    services = Services.of(request)
    await services.pool.get_vm(caller.id, vm_id)  # what is not there comes before what is wrong
    site: ShareSite | None = request.app.state.share_site
    if site is None:
        raise InvalidRequest(
            "port", "this server has no host names for links: its operator sets ports.share_url"
        )
    seconds = (body or SharePort()).expires_in
    longest: int = request.app.state.share_max
    if seconds > longest:
        raise InvalidRequest("expires_in", f"is above this server's limit of {longest} seconds")
    note(request, expires_in=seconds)
    link = await services.pool.share(caller.id, vm_id, port, seconds)
    return Share(
        vm_id=link.vm_id,
        port=link.port,
        url=site.link(link.label, link.token),
        expires_at=answers.stamp(link.expires_at),
    )


@router.delete(
    "/shares/{port}",
    status_code=204,
    operation_id="revoke_shares",
    summary="Revoke every link to a server in a VM",
)
async def revoke_shares(request: Request, caller: Caller, vm_id: VMReference, port: Port) -> None:
    """To this port. Connections that are open are cut within 15 seconds."""
    await Services.of(request).pool.revoke_shares(caller.id, vm_id, port)
