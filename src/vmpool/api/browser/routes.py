"""Routes of a browser's session: sign in, who is signed in, sign out."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.browser.sessions import LIFETIME, Held, Sessions, cookie
from vmpool.api.schemas.sessions import Session
from vmpool.domain import Principal

router = APIRouter(
    prefix="/api/session", tags=["session"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS
)


@router.post("", status_code=201, operation_id="create_session", summary="Sign a browser in")
async def create_session(request: Request, response: Response, caller: Caller) -> Session:
    """Exchanges the key of this request for a cookie that scripts cannot read.

    It lasts half a day, no longer than the key, and not past the server's end. With it, requests need the
    header `X-VMPool-Session: 1`, and those that change something an `Origin` that is this server's.
    """
    sessions: Sessions = request.app.state.sessions
    token, held = sessions.begin(request.headers["authorization"], caller.key.expires_at)
    seconds = int(LIFETIME.total_seconds())
    response.headers["set-cookie"] = cookie(token, secure=_secure(request), seconds=seconds)
    return _shown(caller, held)


@router.get("", operation_id="get_session", summary="Who is signed in")
async def get_session(request: Request, caller: Caller) -> Session:
    """Who asks, and what they may do."""
    found = getattr(request.state, "session", None)
    return _shown(caller, None if found is None else found[1])


@router.delete("", status_code=204, operation_id="delete_session", summary="Sign a browser out")
async def delete_session(request: Request, response: Response, caller: Caller) -> None:
    """The session is over at once; the key goes on working. Without a session nothing changes."""
    found = getattr(request.state, "session", None)
    if found is not None:
        request.app.state.sessions.end(found[0])
    response.headers["set-cookie"] = cookie("", secure=_secure(request), seconds=0)


def _shown(caller: Principal, held: Held | None) -> Session:
    return Session(
        user_id=caller.id,
        user_name=caller.user.name,
        admin=caller.admin,
        scopes=sorted(caller.scopes),
        expires_at=None if held is None else answers.stamp(held.expires_at),
    )


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"
