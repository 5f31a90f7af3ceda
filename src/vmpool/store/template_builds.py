"""Builds of templates, and what is kept after their steps."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Executable, Row, delete, func, insert, literal_column, select, update

from vmpool.domain.template_build import Build, BuildState, Layer, NewBuild
from vmpool.errors import BuildNotFound
from vmpool.store.database import Database
from vmpool.store.models import TemplateBuildRow, TemplateLayerRow


class BuildFacts(TypedDict, total=False):
    """What is recorded of a build; what is not named stays."""

    state: BuildState
    step: int
    failure: str | None
    template_id: int


class TemplateBuilds:
    """The table `template_builds`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, new: NewBuild) -> Build:
        """Announce one as BUILDING."""
        values = {
            "user_id": new.user_id,
            "name": new.name,
            "description": new.description,
            "base": new.base,
            "language": new.language,
            "steps": [str(step) for step in new.steps],
            "replace": new.replace,
            "state": BuildState.BUILDING.value,
            "step": 0,
            "created_at": self._clock(),
        }
        statement = insert(TemplateBuildRow).values(values).returning(TemplateBuildRow)
        return await self._database.write(lambda connection: _build(connection.execute(statement).one()))

    async def record(self, build_id: int, **facts: Unpack[BuildFacts]) -> Build:
        """Record facts of one that is BUILDING; BuildNotFound of another."""
        values: dict[str, Any] = dict(facts)
        if "state" in facts:
            values |= {"state": facts["state"].value, "ended_at": self._clock()}
        statement = (
            update(TemplateBuildRow)
            .where(TemplateBuildRow.id == build_id, TemplateBuildRow.state == BuildState.BUILDING.value)
            .values(values)
            .returning(TemplateBuildRow)
        )
        return await self._database.write(lambda connection: _one(connection, statement, build_id))

    async def get(self, user_id: int, build_id: int) -> Build:
        """One of the user's; BuildNotFound."""
        statement = select(TemplateBuildRow).where(
            TemplateBuildRow.id == build_id, TemplateBuildRow.user_id == user_id
        )
        return await self._database.read(lambda connection: _one(connection, statement, build_id))

    async def list(
        self, user_id: int, *, limit: int | None = None, before_id: int | None = None
    ) -> builtins.list[Build]:
        """The user's, newest first.  before_id: only those older than this one."""
        statement = select(TemplateBuildRow).where(TemplateBuildRow.user_id == user_id)
        if before_id is not None:
            statement = statement.where(TemplateBuildRow.id < before_id)
        statement = statement.order_by(TemplateBuildRow.id.desc()).limit(limit)
        return await self._database.read(lambda connection: _all(connection, statement))

    async def building(self) -> builtins.list[Build]:
        """Everybody's that are BUILDING, oldest first."""
        statement = (
            select(TemplateBuildRow)
            .where(
                TemplateBuildRow.state == literal_column(f"'{BuildState.BUILDING}'")
            )  # as the index has it
            .order_by(TemplateBuildRow.id)
        )
        return await self._database.read(lambda connection: _all(connection, statement))

    async def forget_old(self, user_id: int, keep: int) -> builtins.list[int]:
        """Remove all but the user's newest of those that have ended; the ids of what was removed."""
        ended = (
            select(TemplateBuildRow.id)
            .where(TemplateBuildRow.user_id == user_id, TemplateBuildRow.state != BuildState.BUILDING.value)
            .order_by(TemplateBuildRow.id.desc())
            .offset(keep)
            .limit(1000)
        )

        def work(connection: Connection) -> builtins.list[int]:
            old = list(connection.execute(ended).scalars())
            if old:
                connection.execute(delete(TemplateBuildRow).where(TemplateBuildRow.id.in_(old)))
            return old

        return await self._database.write(work)

    async def known(self) -> frozenset[int]:
        """The ids of all there are."""
        return await self._database.read(
            lambda connection: frozenset(connection.execute(select(TemplateBuildRow.id)).scalars())
        )


class TemplateLayers:
    """The table `template_layers`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def add(self, user_id: int, digest: str, snapshot_id: int, size: int) -> int | None:
        """Keep this snapshot for what the digest names; the snapshot that was kept for it before."""
        now = self._clock()

        def work(connection: Connection) -> int | None:
            same = TemplateLayerRow.user_id == user_id, TemplateLayerRow.digest == digest
            before = connection.execute(
                delete(TemplateLayerRow).where(*same).returning(TemplateLayerRow.snapshot_id)
            ).scalar_one_or_none()
            values = {"user_id": user_id, "digest": digest, "snapshot_id": snapshot_id, "size": size}
            connection.execute(insert(TemplateLayerRow).values({**values, "used_at": now}))
            return before

        return await self._database.write(work)

    async def deepest(self, user_id: int, digests: Sequence[str]) -> tuple[int, Layer] | None:
        """Of the digests the last that the user has something kept for: its place and that, used now."""
        wanted = select(TemplateLayerRow).where(
            TemplateLayerRow.user_id == user_id, TemplateLayerRow.digest.in_(digests)
        )

        def work(connection: Connection) -> tuple[int, Layer] | None:
            found = {row.digest: row for row in connection.execute(wanted)}
            places = [place for place, digest in enumerate(digests) if digest in found]
            if not places:
                return None
            used = [found[digests[place]].id for place in places]
            connection.execute(
                update(TemplateLayerRow).where(TemplateLayerRow.id.in_(used)).values(used_at=self._clock())
            )
            return places[-1], _layer(found[digests[places[-1]]])

        return await self._database.write(work)

    async def forget(self, user_id: int, digests: Collection[str]) -> builtins.list[int]:
        """Keep nothing for these any more; the snapshots that were."""
        statement = (
            delete(TemplateLayerRow)
            .where(TemplateLayerRow.user_id == user_id, TemplateLayerRow.digest.in_(digests))
            .returning(TemplateLayerRow.snapshot_id)
        )
        return await self._database.write(lambda connection: list(connection.execute(statement).scalars()))

    async def shorten(self, user_id: int, most_bytes: int) -> builtins.list[int]:
        """Keep so many bytes of the user's at most, what was used last; the snapshots let go of."""
        since = func.sum(TemplateLayerRow.size).over(
            order_by=(TemplateLayerRow.used_at.desc(), TemplateLayerRow.id.desc())
        )
        sums = (
            select(TemplateLayerRow.id, since.label("bytes"))
            .where(TemplateLayerRow.user_id == user_id)
            .subquery()
        )
        statement = (
            delete(TemplateLayerRow)
            .where(TemplateLayerRow.id.in_(select(sums.c.id).where(sums.c.bytes > most_bytes)))
            .returning(TemplateLayerRow.snapshot_id)
        )
        return await self._database.write(lambda connection: list(connection.execute(statement).scalars()))


def _one(connection: Connection, statement: Executable, build_id: int) -> Build:
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise BuildNotFound(build_id)
    return _build(row)


def _all(connection: Connection, statement: Executable) -> builtins.list[Build]:
    return [_build(row) for row in connection.execute(statement)]


def _build(row: Row[Any]) -> Build:
    return Build(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        description=row.description,
        base=row.base,
        language=row.language,
        steps=tuple(row.steps),
        replace=row.replace,
        state=BuildState(row.state),
        step=row.step,
        failure=row.failure,
        template_id=row.template_id,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _layer(row: Row[Any]) -> Layer:
    return Layer(row.id, row.user_id, row.digest, row.snapshot_id, row.size)
