"""The composition root: the owner's key, and the backend that is chosen once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest

from vmpool import app, backend_choice
from vmpool.api.idempotency import KeptKeys
from vmpool.api.requests import Defaults
from vmpool.backends.base import Backend, BackendInfo
from vmpool.backends.fake import FakeBackend
from vmpool.domain import Census, NewVM, Principal, VMState
from vmpool.domain.isolation import IsolationName
from vmpool.domain.language import WarmStart
from vmpool.errors import BackendUnreachable, Conflict, IsolationUnavailable
from vmpool.pool.settings import PoolSettings
from vmpool.settings import (
    Bubblewrap,
    LimitSettings,
    Network,
    Output,
    Packages,
    Periods,
    RetentionSettings,
    Settings,
    Templates,
    Warm,
    WarmPool,
    Webhooks,
)
from vmpool.store import Store, open_store
from vmpool.store.statedir import StateDirectory

pytestmark = pytest.mark.anyio


class Engine(FakeBackend):
    """A backend by another name.  templates: None stands for an engine that does not answer."""

    def __init__(self, name: str, templates: tuple[str, ...] | None, isolation: str = "container") -> None:
        super().__init__()
        self.isolation = isolation
        self.name = name
        self.templates = templates

    async def describe(self) -> BackendInfo:
        if self.templates is None:
            raise BackendUnreachable("there is no engine")
        return BackendInfo(self.name, "20.10", self.isolation, "full", self.templates, {}, ())


@asynccontextmanager
async def chosen(
    directory: StateDirectory, docker: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch, backend: str
) -> AsyncIterator[tuple[str, str, Store]]:
    """What is chosen on a host whose Docker engine has these templates."""

    def make(name: str, *_: object) -> Backend:
        return Engine(name, docker if name == "docker" else ("python",))

    monkeypatch.setattr(backend_choice, "make", make)
    settings = Settings(state_dir=directory.path, backend=backend)  # type: ignore[arg-type]
    async with (
        open_store(settings.database) as store,
        backend_choice.open_backend(settings, directory, store) as (found, reason),
    ):
        yield found.name, reason, store


@pytest.mark.parametrize(
    ("docker", "name", "reason"),
    [
        (("python", "go"), "docker", "Docker Engine 20.10 answers and has images for python, go"),
        ((), "bubblewrap", "Docker Engine 20.10 answers but has none of vmpool's images"),
        (None, "bubblewrap", "no Docker engine can be used (there is no engine)"),
    ],
)
async def test_auto(
    directory: StateDirectory,
    monkeypatch: pytest.MonkeyPatch,
    docker: tuple[str, ...] | None,
    name: str,
    reason: str,
) -> None:
    async with chosen(directory, docker, monkeypatch, "auto") as (found, why, _):
        assert found == name
        assert why.startswith(reason)


async def test_auto_is_decided_once(directory: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    async with chosen(directory, None, monkeypatch, "auto") as first:
        pass
    async with chosen(directory, ("python",), monkeypatch, "auto") as second:
        assert second[:2] == first[:2]


async def test_a_setting_wins(directory: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    async with chosen(directory, None, monkeypatch, "auto"):
        pass
    async with chosen(directory, ("python",), monkeypatch, "docker") as found:
        assert found[:2] == ("docker", backend_choice.BY_SETTING)
    async with chosen(directory, None, monkeypatch, "bubblewrap") as found:
        assert found[0] == "bubblewrap"


async def test_vms_are_not_stranded(directory: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    async with chosen(directory, None, monkeypatch, "auto") as (_, _, store):
        user = await store.users.ensure("ada")

        def admit(_: Census) -> None:
            pass

        new = NewVM(
            user_id=user.id,
            name="box",
            language="python",
            template="python",
            backend="bubblewrap",
            isolation="",
        )
        vm = await store.vms.insert(new, admit)
    with pytest.raises(Conflict, match="1 VMs on the bubblewrap backend"):
        async with chosen(directory, ("python",), monkeypatch, "docker"):
            raise AssertionError("was opened")
    async with chosen(directory, None, monkeypatch, "bubblewrap") as (_, _, store):
        for source, to in ((VMState.CREATING, VMState.DELETING), (VMState.DELETING, VMState.DELETED)):
            await store.vms.transition(vm.id, (source,), to)
    async with chosen(directory, ("python",), monkeypatch, "docker") as found:
        assert found[0] == "docker"


@pytest.mark.parametrize(("isolation", "backend"), [("namespaces", "bubblewrap"), ("container", "docker")])
async def test_an_isolation_decides_the_backend(
    directory: StateDirectory, monkeypatch: pytest.MonkeyPatch, isolation: IsolationName, backend: str
) -> None:
    def make(name: str, *_: object) -> Backend:
        return Engine(name, ("python",), isolation)

    monkeypatch.setattr(backend_choice, "make", make)
    settings = Settings(state_dir=directory.path, isolation=isolation)
    async with (
        open_store(settings.database) as store,
        backend_choice.open_backend(settings, directory, store) as (found, reason),
    ):
        assert (found.name, reason) == (backend, f"it has isolation '{isolation}'")


async def test_a_server_does_not_start_without_the_isolation_of_its_settings(
    directory: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_choice, "make", lambda name, *_: Engine(name, ("python",)))
    settings = Settings(state_dir=directory.path, backend="docker", isolation="microvm")
    async with open_store(settings.database) as store:
        with pytest.raises(IsolationUnavailable, match="offers container, not 'microvm'"):
            async with backend_choice.open_backend(settings, directory, store):
                raise AssertionError("was opened")
    assert directory.backend is None


async def test_the_owner_is_made_once(directory: StateDirectory, settings: Settings) -> None:
    key_file = directory.path / "owner.key"
    async with open_store(settings.database) as store:
        await app.ensure_owner(store, directory)
        first = key_file.read_text()
        await app.ensure_owner(store, directory)
        assert key_file.read_text() == first
        owner = await _authenticated(store, first)
        assert (owner.user.name, owner.user.admin) == (app.OWNER, True)


async def test_a_key_that_was_not_written_down_is_replaced(
    directory: StateDirectory, settings: Settings
) -> None:
    async with open_store(settings.database) as store:
        owner = await store.users.ensure(app.OWNER, admin=True)
        await store.keys.create(owner.id, "lost in a crash")
        await app.ensure_owner(store, directory)
        found = await _authenticated(store, (directory.path / "owner.key").read_text())
        assert found.user == owner


async def test_a_server_with_users_gets_no_owner(directory: StateDirectory, settings: Settings) -> None:
    async with open_store(settings.database) as store:
        await store.users.ensure("ada")
        await app.ensure_owner(store, directory)
        assert [user.name for user in await store.users.list()] == ["ada"]
    assert directory.owner_key is None


def test_every_setting_of_the_pool_is_passed_on(tmp_path: Path) -> None:
    """With no setting named, the pool's own defaults come out."""
    settings = Settings(state_dir=tmp_path)
    made, usual = app.pool_settings(settings), PoolSettings()
    assert replace(made, packages=usual.packages) == usual
    assert replace(made.packages, upstreams={}) == usual.packages  # upstreams: what the host's tools use
    assert app.defaults(settings) == Defaults()
    assert app.kept_keys(settings) == KeptKeys()


def test_every_setting_of_the_pool_reaches_it(tmp_path: Path) -> None:
    """With every setting named, none of the pool's fields is left at its default but its two constants."""
    others = Settings(
        state_dir=tmp_path,
        isolation="gvisor",
        limits=LimitSettings(
            max_vms_per_user=2,
            max_total_vms=3,
            max_cpu_limit=4.5,
            max_memory_limit=5000,
            strict_limits=True,
            max_disk_limit=6000,
            default_timeout=7,
            max_execution_time=8,
            max_background_time=91,
            max_executions_in_flight=9,
            max_code=24,
            max_stdin=11,
            memory_overcommit=12,
            host_memory=13,
            disk_capacity=36,
        ),
        output=Output(inline_limit=14, vm_limit=33, total_limit=34, user_share=0.375, min_free=35),
        warm=Warm(spares=25, start=WarmStart.CREATE, idle_seconds=26),
        warm_pool=WarmPool(
            maximum=27, minimum={"python": 28}, memory=29, interpreters=30, remember=31, at_once=32
        ),
        periods=Periods(
            create_timeout=16, stop_grace=17, cleanup_timeout=18, reconcile_every=19, expire_every=20
        ),
        retention=RetentionSettings(
            age=timedelta(seconds=21),
            count=22,
            bytes=23,
            audit=timedelta(days=33),
            audit_count=37,
            idempotency_count=38,
            idempotency_bytes=39,
            events_age=timedelta(seconds=92),
            events_count=93,
        ),
        webhooks=Webhooks(admit=("10.0.0.0/8",), timeout=94),
        templates=Templates(per_user=99, bytes_per_user=100, cache_per_user=101),
        packages=Packages(
            without_network=True,
            pypi="http://a.example/",
            npm="http://b.example/",
            cargo="http://c.example/",
            gem="http://d.example/",
            cache_bytes=95,
            fresh=96,
            max_file=97,
            timeout=98,
        ),
        network=Network(
            admit=("10.0.0.0/8",),
            direct_ports=(53,),
            max_connections=54,
            connections_per_second=55,
            max_bytes=56,
            idle_timeout=57,
            connect_timeout=58,
            log_entries=59,
        ),
    )
    made, usual = asdict(app.pool_settings(others)), asdict(PoolSettings())
    assert {name for name in made if made[name] == usual[name]} == {"backstop", "agent_patience"}
    bounds = made.pop("warm_pool")
    assert bounds.pop("limits") == asdict(app.default_limits(others))
    assert bounds.pop("minimum") == {"python": 28}
    made |= bounds
    network = made.pop("network")
    assert [rule["text"] for rule in network.pop("admit")] == ["10.0.0.0/8"]
    assert network == {"limits": network["limits"], "direct_ports": (53,), "log_entries": 59}
    made |= network.pop("limits")
    webhooks = made.pop("webhooks")
    assert [rule["text"] for rule in webhooks.pop("admit")] == ["10.0.0.0/8"]
    made |= webhooks
    made |= made.pop("templates")
    packages = made.pop("packages")
    assert packages.pop("upstreams") == {
        "pypi": "http://a.example/",
        "npm": "http://b.example/",
        "cargo": "http://c.example/",
        "gem": "http://d.example/",
    }
    assert packages.pop("without_network") is True
    made |= packages.pop("bounds") | packages
    assert app.kept_keys(others) == KeptKeys(38, 39)
    assert len(set(made.values())) == len(made)  # no setting is taken for another


async def test_the_bubblewrap_of_the_settings_is_used(directory: StateDirectory) -> None:
    settings = Settings(
        state_dir=directory.path, backend="bubblewrap", bubblewrap=Bubblewrap(program=Path("/nowhere/bwrap"))
    )
    async with open_store(settings.database) as store:
        with pytest.raises(BackendUnreachable, match="found /nowhere/bwrap"):
            async with backend_choice.open_backend(settings, directory, store):
                pass


async def _authenticated(store: Store, text: str) -> Principal:
    found = await store.keys.authenticate(text.strip())
    assert found is not None
    return found
