from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from vmpool.domain.limits import (
    DEFAULT_CPU_LIMIT,
    DEFAULT_DISK_LIMIT,
    DEFAULT_MEMORY_LIMIT,
    DEFAULT_TIMEOUT,
    MAX_EXECUTION_TIME,
    MAX_TOTAL_VMS,
    MAX_VMS_PER_USER,
)
from vmpool.errors import InvalidRequest
from vmpool.settings import Settings, config_file, describe_settings, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
BEGIN = "<!-- settings: rendered from vmpool.settings by tests/unit/test_settings.py -->\n"
END = "<!-- end of settings -->"
BLESS = os.environ.get("VMPOOL_BLESS") == "1"
"""Read here because each test's environment has no such variable."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without a setting, and a home without a file."""
    for variable in [name for name in os.environ if name.startswith(("VMPOOL_", "XDG_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("vmpool.settings.SYSTEM_FILE", tmp_path / "etc" / "vmpool.toml")
    return monkeypatch


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str, name: str = "vmpool.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return write


def test_the_defaults_are_the_specification_s() -> None:
    limits = load_settings().limits
    assert limits.default_cpu_limit == DEFAULT_CPU_LIMIT == 1.0
    assert limits.default_memory_limit == DEFAULT_MEMORY_LIMIT == 512
    assert limits.default_disk_limit == DEFAULT_DISK_LIMIT == 1024
    assert limits.default_timeout == DEFAULT_TIMEOUT == 300
    assert limits.max_vms_per_user == MAX_VMS_PER_USER == 10
    assert limits.max_total_vms == MAX_TOTAL_VMS == 100
    assert limits.max_execution_time == MAX_EXECUTION_TIME == 600


def test_the_server_listens_on_loopback_by_default() -> None:
    settings = load_settings()
    assert (settings.listen.host, settings.listen.port) == ("127.0.0.1", 8321)
    assert settings.auth.owner_key
    assert settings.backend == "auto"


def test_the_strongest_source_wins_setting_by_setting(
    environment: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    path = write("backend = 'docker'\n[listen]\nhost = '10.0.0.1'\nport = 1\n[limits]\nmax_total_vms = 7\n")
    environment.setenv("VMPOOL_LISTEN__PORT", "2")
    environment.setenv("VMPOOL_LIMITS__MEMORY_OVERCOMMIT", "1.5")
    settings = load_settings(path, {"backend": "fake"})
    assert (settings.backend, settings.listen.host, settings.listen.port) == ("fake", "10.0.0.1", 2)
    assert (settings.limits.max_total_vms, settings.limits.memory_overcommit) == (7, 1.5)
    assert settings.limits.max_vms_per_user == MAX_VMS_PER_USER


@pytest.mark.parametrize(
    ("content", "field", "said"),
    [
        ("databse_url = 'x'", "databse_url", "did you mean 'database_url'"),
        ("[limits]\nmax_vm_per_user = 1", "limits.max_vm_per_user", "did you mean 'max_vms_per_user'"),
        ("[limitz]\nmax_total_vms = 1", "limitz", "did you mean 'limits'"),
        ("[docker]\nqqq = 1", "docker.qqq", "is not a setting"),
        ("[limits]\nmax_total_vms = 0", "limits.max_total_vms", "greater than or equal to 1"),
        ("[limits]\nmax_total_vms = 'many'", "limits.max_total_vms", "valid integer"),
        ("[limits]\nmemory_overcommit = inf", "limits.memory_overcommit", "finite"),
        ("[limits]\nmax_memory_limit = 100", "limits", "default_memory_limit is above max_memory_limit"),
        ("[listen]\nport = 65536", "listen.port", "65535"),
        ("backend = 'vmware'", "backend", "bubblewrap"),
        ("limits = 3", "limits", "dictionary"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(
    write: Callable[..., Path], content: str, field: str, said: str
) -> None:
    path = write(content)
    with pytest.raises(InvalidRequest, match=said) as caught:
        load_settings(path)
    assert caught.value.context["field"] == field
    assert str(path) in str(caught.value)


def test_a_wrong_variable_is_named(environment: pytest.MonkeyPatch) -> None:
    with environment.context() as inner:
        inner.setenv("VMPOOL_LISTN__PORT", "1")
        with pytest.raises(InvalidRequest, match=r"VMPOOL_LISTN__PORT.*did you mean 'listen'"):
            load_settings()
    with environment.context() as inner:
        inner.setenv("VMPOOL_LISTEN__PROT", "1")
        with pytest.raises(InvalidRequest, match=r"listen\.prot.*did you mean 'port'"):
            load_settings()
    with environment.context() as inner:
        inner.setenv("VMPOOL_LISTEN", "{not json")
        with pytest.raises(InvalidRequest, match="listen"):
            load_settings()


def test_variables_of_others_and_empty_ones_do_not_count(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VMPOOL_API_KEY", "vmp_x")
    environment.setenv("VMPOOL_TEST_POSTGRES", "postgresql://x")
    environment.setenv("VMPOOL_DOCKER__RUNTIME", "")
    assert load_settings().docker.runtime is None


def test_a_file_that_is_not_toml_or_not_there_is_named(
    environment: pytest.MonkeyPatch, write: Callable[..., Path], tmp_path: Path
) -> None:
    broken = write("backend =\n\n=")
    with pytest.raises(InvalidRequest, match=r"vmpool\.toml.*line 1"):
        load_settings(broken)
    environment.setenv("VMPOOL_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(InvalidRequest, match=r"missing\.toml"):
        load_settings()


def test_the_file_is_looked_for_in_order(
    environment: pytest.MonkeyPatch, write: Callable[..., Path], tmp_path: Path
) -> None:
    assert config_file() is None
    system = write("", "etc/vmpool.toml")
    assert config_file() == system
    own = write("", "home/.config/vmpool/vmpool.toml")
    assert config_file() == own
    moved = write("", "xdg/vmpool/vmpool.toml")
    environment.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert config_file() == moved
    environment.setenv("XDG_CONFIG_HOME", "relative")
    assert config_file() == own
    environment.setenv("VMPOOL_CONFIG", str(system))
    assert config_file() == system


def test_the_state_lies_in_the_system_s_place_for_root_and_at_home_for_others(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr(os, "geteuid", lambda: 0)
    assert load_settings().state_dir == Path("/var/lib/vmpool")
    environment.setattr(os, "geteuid", lambda: 1000)
    assert load_settings().state_dir == tmp_path / "home/.local/state/vmpool"
    environment.setenv("XDG_STATE_HOME", "/srv/state")
    assert load_settings().state_dir == Path("/srv/state/vmpool")
    assert load_settings().database == "sqlite:////srv/state/vmpool/vmpool.db"


def test_the_state_directory_is_made_absolute(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.chdir(tmp_path)
    assert load_settings(overrides={"state_dir": "here"}).state_dir == tmp_path / "here"
    assert load_settings(overrides={"state_dir": "~/there"}).state_dir == tmp_path / "home/there"


def test_a_password_is_not_shown() -> None:
    settings = load_settings(overrides={"database_url": "postgresql://ada:hunter2@host/name"})
    assert settings.database.endswith("hunter2@host/name")
    assert "hunter2" not in repr(settings)


def test_a_retention_s_age_is_seconds_or_iso_8601(
    environment: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    assert load_settings(write("[retention]\nage = 3600")).retention.age == timedelta(hours=1)
    environment.setenv("VMPOOL_RETENTION__AGE", "P3D")
    assert load_settings().retention.age == timedelta(days=3)


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.backend = "fake"
    with pytest.raises(ValidationError):
        settings.listen.port = 1


def test_every_setting_is_described_under_the_variable_that_sets_it(
    environment: pytest.MonkeyPatch,
) -> None:
    described = list(describe_settings())
    assert all(meaning for *_, meaning in described)
    names = {name for name, *_ in described}
    assert {"state_dir", "listen.port", "limits.max_vms_per_user", "docker.runtime"} <= names
    for name, variable, default, _ in described:
        with environment.context() as inner:
            if isinstance(default, int) and not isinstance(default, bool):
                another = default - 1 if default > 1 else default + 1
                inner.setenv(variable, str(another))
                section, _, leaf = name.partition(".")
                assert getattr(getattr(load_settings(), section), leaf) == another, name


def test_the_page_of_settings() -> None:
    """`VMPOOL_BLESS=1` rewrites the table."""
    rows = [
        f"| `{name}` | `{variable}` | {_shown(name, default)} | {meaning} |\n"
        for name, variable, default, meaning in describe_settings()
    ]
    rendered = "| setting | variable | default | what it is |\n|---|---|---|---|\n" + "".join(rows)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if BLESS:
        PAGE.write_text(f"{before}{BEGIN}{rendered}{END}{after}")
    else:
        assert shown == rendered


def _shown(name: str, default: object) -> str:
    """A default as the page has it; the state directory's differs from user to user."""
    if default is None or default == "" or name == "state_dir":
        return ""
    if isinstance(default, timedelta):
        return f"`{default.total_seconds():.0f}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_the_tree_has_no_setting_deeper_than_a_section() -> None:
    for field in Settings.model_fields.values():
        inner = getattr(type(field.default), "model_fields", {})
        assert not any(hasattr(leaf.annotation, "model_fields") for leaf in inner.values())
