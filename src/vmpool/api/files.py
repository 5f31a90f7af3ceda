"""Routes of the files in a VM: one by one, and whole directories as archives."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.file_answers import (
    DirectoryParameter,
    ModeParameter,
    PathParameter,
    TimeParameter,
    ToParameter,
    bits,
    info,
    unpacked,
)
from vmpool.api.paging import LINK_HEADER
from vmpool.api.ranges import MEDIA_TYPE, part
from vmpool.api.schemas.base import LARGEST_ID, Id
from vmpool.api.schemas.files import FileInfo, UnpackedTree
from vmpool.api.services import Services
from vmpool.api.streaming import Streamed, body_of
from vmpool.api.vms import VMReference
from vmpool.domain import Principal
from vmpool.errors import FileRefused, RangeNotSatisfiable
from vmpool.pool.archives import archive
from vmpool.pool.files import Condition, VMFiles, shown, version_of
from vmpool.pool.unpacking import unpack

router = APIRouter(
    prefix="/api/vms/{vm_id}", tags=["files"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS
)

TAR = "application/x-tar"
MOST_ENTRIES = 1000


def _content(media_type: str) -> dict[str, Any]:
    return {media_type: {"schema": {"type": "string", "format": "binary"}}}


def _body(media_type: str, description: str) -> dict[str, Any]:
    return {"requestBody": {"description": description, "content": _content(media_type)}}


_VERSION = {"ETag": {"description": "The file's version.", "schema": {"type": "string"}}}
_READ: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": _content(MEDIA_TYPE), "headers": _VERSION},
    206: {
        "description": "The range that was asked for.",
        "content": _content(MEDIA_TYPE),
        "headers": _VERSION,
    },
}


async def _files(request: Request, caller: Principal, vm_id: str) -> VMFiles:
    return await Services.of(request).pool.files_of(caller.id, vm_id)


@router.get(
    "/files",
    operation_id="read_file",
    summary="The content of a file",
    response_class=Response,
    responses=_READ,
)
async def read_file(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    path: PathParameter,
    range: Annotated[str | None, Header(max_length=200, description="`bytes=first-last`.")] = None,
    if_range: Annotated[
        str | None, Header(max_length=200, description="An ETag: the range only of this version.")
    ] = None,
) -> Response:
    """Byte by byte, however large it is.  A file that is cut while it is read ends the answer early."""
    files = await _files(request, caller, vm_id)
    status = await files.stat(path, follow=True)
    if not status.is_file:
        raise FileRefused(shown(path), "not_a_file", "is no regular file")
    wanted = range if if_range in (None, f'"{version_of(status)}"') else None
    found = part(wanted, status.size)
    start, stop = found or (0, status.size)
    incoming = await files.get(path, start, stop - start)
    if found is not None and not incoming.length:
        await incoming.aclose()
        raise RangeNotSatisfiable("Range", incoming.status.size)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(incoming.length),
        "ETag": f'"{version_of(incoming.status)}"',
    }
    if found is not None:
        headers["Content-Range"] = f"bytes {start}-{start + incoming.length - 1}/{incoming.status.size}"
    answer = Response(None, 200 if found is None else 206, headers, MEDIA_TYPE)
    return Streamed(files.pieces(incoming), answer, incoming.aclose)


@router.put(
    "/files",
    operation_id="write_file",
    summary="Replace the content of a file",
    openapi_extra=_body(MEDIA_TYPE, "The content, as long as the VM's disk is large."),
    responses=answers.refusals(
        e409="It is no regular file, or may not be written.",
        e412="It is not as `If-Match`, `If-None-Match` or `offset` says.",
        e413="It is larger than the VM's disk.",
        e507="The VM's disk is full.",
    ),
)
async def write_file(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    path: PathParameter,
    offset: Annotated[Id, Query(description="Go on from here: the file must have so many bytes.")] = 0,
    mode: ModeParameter = None,
    mtime_ns: TimeParameter = None,
    parents: Annotated[bool, Query(description="Make directories that are missing.")] = False,
    if_match: Annotated[
        str | None, Header(max_length=200, description="An ETag the file must have, or `*`.")
    ] = None,
    if_none_match: Annotated[
        str | None, Header(pattern=r"^\*$", max_length=1, description="`*`: there must be no such file.")
    ] = None,
) -> FileInfo:
    """Made if it is not there, and written in place.  An upload that broke off goes on with `offset`."""
    files = await _files(request, caller, vm_id)
    condition = Condition(
        tag=None if if_match is None else if_match.strip('"'),
        absent=if_none_match is not None,
        size=offset or None,
    )
    _check_length(request, files)
    status = await files.put(
        path,
        body_of(request),
        offset=offset,
        condition=condition,
        mode=bits(mode),
        parents=parents,
        mtime_ns=mtime_ns,
    )
    return info(path, status)


@router.patch("/files", operation_id="change_file", summary="Change permission bits or time of a file")
async def change_file(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    path: PathParameter,
    mode: ModeParameter = None,
    mtime_ns: TimeParameter = None,
) -> FileInfo:
    """`mode` of what a link leads to, `mtime_ns` of the link itself."""
    files = await _files(request, caller, vm_id)
    return info(path, await files.change(path, mode=bits(mode), mtime_ns=mtime_ns))


@router.delete(
    "/files", status_code=204, operation_id="remove_file", summary="Remove a file, a link or a directory"
)
async def remove_file(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    path: PathParameter,
    recursive: Annotated[bool, Query(description="A directory with all it holds.")] = False,
) -> None:
    """A link itself, never what it leads to."""
    await (await _files(request, caller, vm_id)).remove(path, tree=recursive)


@router.get("/files/stat", operation_id="stat_file", summary="What is known of a file")
async def stat_file(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    path: PathParameter,
    follow: Annotated[bool, Query(description="Of what a link leads to, not of the link.")] = False,
) -> FileInfo:
    """Of a file, a directory or a link."""
    return info(path, await (await _files(request, caller, vm_id)).stat(path, follow=follow))


@router.get(
    "/files/list",
    operation_id="list_files",
    summary="What a directory holds",
    responses={200: {"description": "In no particular order.", "headers": LINK_HEADER}},
)
async def list_files(
    request: Request,
    response: Response,
    caller: Caller,
    vm_id: VMReference,
    path: DirectoryParameter,
    limit: Annotated[
        int, Query(ge=1, le=MOST_ENTRIES, description="Entries to answer at most.")
    ] = MOST_ENTRIES,
    cursor: Annotated[
        int, Query(ge=0, le=LARGEST_ID, description="From the `Link` header of the page before.")
    ] = 0,
) -> list[FileInfo]:
    """A directory that changes between two pages may show an entry twice or not at all."""
    found, following = await (await _files(request, caller, vm_id)).page(path, cursor, limit)
    if following is not None:
        url = request.url.replace(
            query=_with_cursor(request.scope["query_string"].decode("ascii"), following)
        )
        response.headers["Link"] = f'<{url}>; rel="next"'
    return [info(entry.name, entry.status) for entry in found]


@router.post("/files/directory", status_code=201, operation_id="make_directory", summary="Make a directory")
async def make_directory(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    path: PathParameter,
    mode: ModeParameter = None,
    parents: Annotated[bool, Query(description="Make those above it that are missing.")] = False,
    existing: Annotated[bool, Query(description="One that is there is no error.")] = False,
) -> FileInfo:
    """With the permission bits 0755 unless it says."""
    files = await _files(request, caller, vm_id)
    status = await files.make_directory(path, mode=bits(mode), parents=parents, existing=existing)
    return info(path, status)


@router.post("/files/move", operation_id="move_file", summary="Give a file or directory another path")
async def move_file(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    path: PathParameter,
    to: ToParameter,
    replace: Annotated[
        bool, Query(description="What is at `to` goes, unless it is a full directory.")
    ] = False,
) -> FileInfo:
    """Within one file system of the VM, at once."""
    return info(to, await (await _files(request, caller, vm_id)).move(path, to, replace=replace))


@router.get(
    "/tree",
    operation_id="download_tree",
    summary="A directory as a tar archive",
    response_class=Response,
    responses={200: {"description": "Names are relative to the directory.", "content": _content(TAR)}},
)
async def download_tree(
    request: Request, caller: Caller, vm_id: VMReference, path: DirectoryParameter
) -> Response:
    """Directories, files and links.  An answer that ends without the two empty blocks has been cut."""
    pieces = await archive(await _files(request, caller, vm_id), path)
    return Streamed(pieces, Response(None, 200, None, TAR))


@router.put(
    "/tree",
    operation_id="upload_tree",
    summary="Unpack a tar archive into a directory",
    openapi_extra=_body(TAR, "An uncompressed archive."),
    responses=answers.refusals(
        e413="It is larger than the VM's disk.", e422="It is no archive.", e507="The VM's disk is full."
    ),
)
async def upload_tree(
    request: Request, caller: Caller, vm_id: VMReference, path: DirectoryParameter
) -> UnpackedTree:
    """The directory is made if it is not there; what is there already and not in the archive stays.

    Entries with an absolute name or `..`, links that lead out of the directory, devices, and what lies behind
    a link of the archive are left out, and listed in `refused`.
    """
    files = await _files(request, caller, vm_id)
    _check_length(request, files)
    return unpacked(await unpack(files, path, body_of(request), _room(files)))


def _room(files: VMFiles) -> int:
    return files.vm.limits.disk << 20


def _check_length(request: Request, files: VMFiles) -> None:
    """413 for a body that cannot be in the VM; the disk refuses the rest."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > 2 * _room(files):
        raise HTTPException(413, f"the body is longer than the VM's disk of {_room(files)} bytes")


def _with_cursor(query: str, cursor: int) -> str:
    """The query, exactly as it was, for the page that begins at `cursor`."""
    kept = [part for part in query.split("&") if part and part.partition("=")[0] != "cursor"]
    return "&".join((*kept, f"cursor={cursor}"))
