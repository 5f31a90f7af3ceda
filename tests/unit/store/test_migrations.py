from __future__ import annotations

import anyio
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from vmpool.errors import StoreFailed
from vmpool.store import open_store
from vmpool.store.migrations import configuration
from vmpool.store.models import Base

pytestmark = pytest.mark.anyio

SPECIFIED = {
    "virtual_machines": {
        "id": "INTEGER",
        "user_id": "INTEGER",
        "name": "VARCHAR",
        "status": "VARCHAR",
        "language": "VARCHAR",
        "container_id": "VARCHAR",
        "cpu_limit": "FLOAT",
        "memory_limit": "INTEGER",
        "disk_limit": "INTEGER",
        "created_at": "DATETIME",
        "started_at": "DATETIME",
        "stopped_at": "DATETIME",
    },
    "vm_executions": {
        "id": "INTEGER",
        "vm_id": "INTEGER",
        "code": "TEXT",
        "output": "TEXT",
        "error": "TEXT",
        "exit_code": "INTEGER",
        "execution_time": "FLOAT",
        "executed_at": "DATETIME",
    },
}
POSTGRES_NAMES = {"DOUBLE PRECISION": "FLOAT", "TIMESTAMP": "DATETIME"}


async def test_the_migrated_tables_are_those_of_the_models(empty_url: str) -> None:
    def drift(connection: Connection) -> object:
        command.check(configuration(connection))
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, Base.metadata)

    async with open_store(empty_url) as store:
        assert await store.database.write(drift) == []


async def test_the_specified_columns_are_there_by_name_and_type(empty_url: str) -> None:
    def columns(connection: Connection) -> dict[str, dict[str, str]]:
        found = {}
        for table, specified in SPECIFIED.items():
            types = {column["name"]: str(column["type"]) for column in inspect(connection).get_columns(table)}
            found[table] = {name: POSTGRES_NAMES.get(types[name], types[name]) for name in specified}
        return found

    def parents(connection: Connection) -> set[tuple[str, str, str]]:
        return {
            (table, key["constrained_columns"][0], key["referred_table"])
            for table in SPECIFIED
            for key in inspect(connection).get_foreign_keys(table)
        }

    async with open_store(empty_url) as store:
        assert await store.database.read(columns) == SPECIFIED
        assert await store.database.read(parents) == {
            ("virtual_machines", "user_id", "users"),
            ("vm_executions", "vm_id", "virtual_machines"),
        }


async def test_opening_again_changes_nothing(empty_url: str) -> None:
    async with open_store(empty_url) as store:
        user = await store.users.ensure("ada")
    async with open_store(empty_url) as store:
        assert await store.users.list() == [user]


async def test_many_servers_opening_a_new_database_at_once(empty_url: str) -> None:
    async def use(name: str) -> None:
        async with open_store(empty_url) as store:
            await store.users.ensure(name)

    async with anyio.create_task_group() as tasks:
        for n in range(4):
            tasks.start_soon(use, f"u{n}")
    async with open_store(empty_url) as store:
        assert {user.name for user in await store.users.list()} == {"u0", "u1", "u2", "u3"}


async def test_a_database_of_a_later_version_is_refused_and_left_as_it_is(empty_url: str) -> None:
    def set_revision(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))

    async with open_store(empty_url) as store:
        await store.users.ensure("ada")
        await store.database.write(set_revision)
    with pytest.raises(StoreFailed, match="later version of vmpool"):
        async with open_store(empty_url):
            pytest.fail("it was opened")


async def test_every_migration_can_be_undone_and_done_again(empty_url: str) -> None:
    def there_and_back(connection: Connection) -> list[str]:
        command.downgrade(configuration(connection), "base")
        left = inspect(connection).get_table_names()
        command.upgrade(configuration(connection), "head")
        return left

    async with open_store(empty_url) as store:
        assert await store.database.write(there_and_back) == ["alembic_version"]
        await store.users.ensure("ada")


async def test_there_is_one_line_of_migrations(empty_url: str) -> None:
    async with open_store(empty_url) as store:
        heads = await store.database.read(
            lambda connection: ScriptDirectory.from_config(configuration(connection)).get_heads()
        )
    assert len(heads) == 1
