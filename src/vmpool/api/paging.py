"""Paging of collections: newest first, `limit` and `cursor` in, a `Link` header out.

A cursor is the id of the last item of the page before, so that a page stays right while items are added
or removed.  Callers take it from the `Link` header and need not know what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api.schemas.base import LARGEST_ID

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a collection is wanted: at most `limit` items with ids below `before`."""

    limit: int
    before: int | None


def page(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items to answer at most.")] = DEFAULT_LIMIT,
    cursor: Annotated[
        int | None, Query(ge=0, le=LARGEST_ID, description="From the `Link` header of the page before.")
    ] = None,
) -> Page:
    """FastAPI's dependency that reads both parameters."""
    return Page(limit, cursor)


Paged = Annotated[Page, Depends(page)]

LINK_HEADER: dict[str, object] = {
    "Link": {"description": 'The next page, as `<url>; rel="next"`.', "schema": {"type": "string"}}
}


def link_next(request: Request, response: Response, page: Page, ids: list[int]) -> None:
    """Name the next page in `Link` when this one, with items `ids`, is full."""
    if len(ids) == page.limit:
        url = request.url.include_query_params(limit=page.limit, cursor=ids[-1])
        response.headers["Link"] = f'<{url}>; rel="next"'
