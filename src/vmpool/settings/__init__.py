"""Everything an operator can set, as one tree.

Sources, the first that names a setting wins: what the caller passes (the command line), the environment
(`VMPOOL_BACKEND`, with two underscores for a section: `VMPOOL_LISTEN__PORT`), a TOML file, the defaults
here.  The file is the one `VMPOOL_CONFIG` names, else `~/.config/vmpool/vmpool.toml`, else
`/etc/vmpool/vmpool.toml`.  A setting that does not exist is an error that names it.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from vmpool.domain.isolation import IsolationName
from vmpool.errors import InvalidRequest
from vmpool.settings.sections import (
    Auth,
    Bubblewrap,
    Docker,
    Lifetime,
    LimitSettings,
    Listen,
    Log,
    MetricsSettings,
    Network,
    Output,
    Packages,
    Periods,
    Ports,
    RateSettings,
    RetentionSettings,
    Section,
    Templates,
    Traces,
    Warm,
    WarmPool,
    Webhooks,
)

__all__ = [
    "Auth",
    "Bubblewrap",
    "Docker",
    "Lifetime",
    "LimitSettings",
    "Listen",
    "Log",
    "MetricsSettings",
    "Network",
    "Output",
    "Packages",
    "Periods",
    "Ports",
    "RateSettings",
    "RetentionSettings",
    "Section",
    "Settings",
    "Templates",
    "Traces",
    "Warm",
    "WarmPool",
    "Webhooks",
    "config_file",
    "default_state_dir",
    "describe_settings",
    "load_settings",
]

PREFIX = "VMPOOL_"
SECTION = "__"
SYSTEM_FILE = Path("/etc/vmpool/vmpool.toml")


class Settings(BaseSettings):
    """The whole tree; `load_settings` reads it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=SECTION,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
        env_ignore_empty=True,
    )

    state_dir: Path = Field(default_factory=lambda: default_state_dir(), description="All the server keeps.")
    database_url: str = Field(
        default="",
        repr=False,
        description="sqlite:///path or postgresql://...; default: vmpool.db in state_dir.",
    )
    backend: Literal["auto", "bubblewrap", "docker", "fake"] = Field(
        default="auto", description="Where VMs come from."
    )
    isolation: IsolationName | None = Field(
        default=None,
        description="The weakest wall a VM may have: namespaces, container, gvisor, microvm; default: "
        "the backend's own.",
    )
    listen: Listen = Listen()
    docker: Docker = Docker()
    bubblewrap: Bubblewrap = Bubblewrap()
    limits: LimitSettings = LimitSettings()
    output: Output = Output()
    retention: RetentionSettings = RetentionSettings()
    lifetime: Lifetime = Lifetime()
    warm: Warm = Warm()
    warm_pool: WarmPool = WarmPool()
    rates: RateSettings = RateSettings()
    periods: Periods = Periods()
    network: Network = Network()
    ports: Ports = Ports()
    packages: Packages = Packages()
    templates: Templates = Templates()
    webhooks: Webhooks = Webhooks()
    log: Log = Log()
    metrics: MetricsSettings = MetricsSettings()
    traces: Traces = Traces()
    auth: Auth = Auth()

    @field_validator("state_dir")
    @classmethod
    def _made_absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def database(self) -> str:
        """The URL for `vmpool.store.open_store`."""
        return self.database_url or f"sqlite:///{self.state_dir / 'vmpool.db'}"


def default_state_dir() -> Path:
    """Root's is the system's; anybody else's lies in their home."""
    if os.geteuid() == 0:
        return Path("/var/lib/vmpool")
    base = _base_directory("XDG_STATE_HOME", ".local/state")
    if base is None:
        raise InvalidRequest("state_dir", "cannot be guessed without a home directory; set VMPOOL_STATE_DIR")
    return base / "vmpool"


def config_file() -> Path | None:
    """The TOML file that counts: the one VMPOOL_CONFIG names, there or not, else the first that exists."""
    named = os.environ.get(f"{PREFIX}CONFIG")
    if named:
        return Path(named)
    base = _base_directory("XDG_CONFIG_HOME", ".config")
    own = [] if base is None else [base / "vmpool" / "vmpool.toml"]
    return next((path for path in (*own, SYSTEM_FILE) if path.is_file()), None)


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read every source.

    config: a TOML file in place of the one that would be found.  overrides: nested like the tree, stronger
    than everything.  InvalidRequest names the setting that is wrong, and the file where there is one.
    """
    path = config or config_file()
    table = {} if path is None else _read(path)
    _check_environment()

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, table)

    try:
        return FromFile(**dict(overrides or {}))
    except SettingsError as failure:
        raise InvalidRequest("settings", str(failure)) from failure
    except ValidationError as failure:
        raise _explained(failure, path) from failure


def describe_settings() -> Iterator[tuple[str, str, object, str]]:
    """For each setting its dotted name, its environment variable, its default and what it means."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            for inner, leaf in type(field.default).model_fields.items():
                variable = f"{PREFIX}{name}{SECTION}{inner}".upper()
                yield f"{name}.{inner}", variable, leaf.get_default(), leaf.description or ""
        else:
            yield (
                name,
                f"{PREFIX}{name}".upper(),
                field.get_default(call_default_factory=True),
                field.description or "",
            )


def _base_directory(variable: str, fallback: str) -> Path | None:
    """A base directory as the XDG specification has it: a relative value counts as unset."""
    value = Path(os.environ.get(variable, ""))
    if value.is_absolute():
        return value
    try:
        return Path.home() / fallback
    except RuntimeError:  # a user without an entry in the password database and without HOME
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as failure:
        raise InvalidRequest("settings", f"{path}: {failure}") from failure


def _check_environment() -> None:
    """A misspelt section in a variable's name would otherwise go unnoticed; others may be the client's."""
    for variable in os.environ:
        if variable.startswith(PREFIX) and SECTION in variable:
            section = variable.removeprefix(PREFIX).split(SECTION)[0].lower()
            if section not in Settings.model_fields:
                raise InvalidRequest(variable, _unknown(section, Settings))


def _explained(failure: ValidationError, path: Path | None) -> InvalidRequest:
    """The first problem, by the dotted name of its setting."""
    problem = failure.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in problem["loc"]) or "settings"
    said = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        *sections, last = (str(part) for part in problem["loc"])
        said = _unknown(last, type(Settings.model_fields[sections[0]].default) if sections else Settings)
    return InvalidRequest(name, said + (f" (see {path})" if path else ""))


def _unknown(name: str, model: type[BaseModel]) -> str:
    near = difflib.get_close_matches(name, model.model_fields, n=1)
    return "is not a setting" + (f"; did you mean '{near[0]}'?" if near else "")
