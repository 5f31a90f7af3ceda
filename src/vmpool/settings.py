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
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from vmpool.domain.limits import (
    DEFAULT_CPU_LIMIT,
    DEFAULT_DISK_LIMIT,
    DEFAULT_MEMORY_LIMIT,
    DEFAULT_PROCESS_LIMIT,
    DEFAULT_TIMEOUT,
    MAX_EXECUTION_TIME,
    MAX_EXECUTIONS_IN_FLIGHT,
    MAX_TOTAL_VMS,
    MAX_VMS_PER_USER,
)
from vmpool.errors import InvalidRequest

PREFIX = "VMPOOL_"
SECTION = "__"
SYSTEM_FILE = Path("/etc/vmpool/vmpool.toml")

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """One table of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(Section):
    """Where the server listens."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8321, ge=0, le=65535, description="Port; 0 takes a free one.")
    drain: float = Field(
        default=10, ge=0, allow_inf_nan=False, description="Seconds requests in progress get at the end."
    )
    max_body: Count = Field(default=32 << 20, description="Bytes of a request's body.")
    access_log: bool = Field(default=False, description="Write a line for each request.")


class Docker(Section):
    """The docker backend."""

    host: str | None = Field(
        default=None, description="The engine's URL; default: DOCKER_HOST, else the local socket."
    )
    runtime: str | None = Field(
        default=None, description="OCI runtime: runc, crun, runsc, kata; default: the engine's."
    )
    image_prefix: str = Field(default="vmpool/", description="Before a template's name in its image's name.")


class Bubblewrap(Section):
    """The bubblewrap backend."""

    program: Path | None = Field(default=None, description="bwrap, 0.11 or newer; default: found.")


class LimitSettings(Section):
    """What users and VMs may have.  Memory and disk in MB, CPU in cores, times in seconds."""

    max_vms_per_user: Count = Field(default=MAX_VMS_PER_USER, description="VMs one user may have at once.")
    max_total_vms: Count = Field(default=MAX_TOTAL_VMS, description="VMs of all users together.")
    default_cpu_limit: float = Field(
        default=DEFAULT_CPU_LIMIT, gt=0, allow_inf_nan=False, description="Cores of a VM."
    )
    default_memory_limit: Count = Field(default=DEFAULT_MEMORY_LIMIT, description="MB of memory of a VM.")
    default_disk_limit: Count = Field(default=DEFAULT_DISK_LIMIT, description="MB of disk of a VM.")
    process_limit: Count = Field(
        default=DEFAULT_PROCESS_LIMIT, description="Processes and threads of a VM together."
    )
    max_cpu_limit: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Most cores a VM may ask for; default: the host's.",
    )
    max_memory_limit: Count | None = Field(
        default=None, description="Most MB of memory a VM may ask for; default: the host's."
    )
    max_disk_limit: Count | None = Field(
        default=None, description="Most MB of disk a VM may ask for; default: no bound."
    )
    default_timeout: Seconds = Field(
        default=DEFAULT_TIMEOUT, description="Seconds of an execution that names none."
    )
    max_execution_time: Seconds = Field(
        default=MAX_EXECUTION_TIME, description="Most seconds an execution may ask for."
    )
    max_executions_in_flight: Count = Field(
        default=MAX_EXECUTIONS_IN_FLIGHT, description="Executions at once in one VM."
    )
    max_code: Annotated[int, Field(ge=1, le=960 << 10)] = Field(
        default=960 << 10, description="Bytes of code in one request."
    )
    max_stdin: Count = Field(default=16 << 20, description="Bytes of standard input in one request.")
    memory_overcommit: float = Field(
        default=2.0,
        gt=0,
        allow_inf_nan=False,
        description="The memory limits of all VMs may sum up to this many times the host's memory.",
    )
    host_memory: Count | None = Field(
        default=None, description="MB to count the host as having; default: measured."
    )

    @model_validator(mode="after")
    def _defaults_fit(self) -> Self:
        for largest, default in (
            ("max_cpu_limit", "default_cpu_limit"),
            ("max_memory_limit", "default_memory_limit"),
            ("max_disk_limit", "default_disk_limit"),
            ("max_execution_time", "default_timeout"),
        ):
            bound = getattr(self, largest)
            if bound is not None and getattr(self, default) > bound:
                raise ValueError(f"{default} is above {largest}")
        return self


class Output(Section):
    """What is kept of what programs print."""

    inline_limit: Count = Field(default=1 << 20, description="Bytes kept of each stream of one execution.")


class RetentionSettings(Section):
    """How much history is kept.  Each bound holds, so that nothing grows for ever."""

    age: timedelta = Field(
        default=timedelta(days=30), gt=timedelta(0), description="Seconds, or ISO 8601 like P30D."
    )
    count: Count = Field(default=10_000, description="Executions per VM.")
    bytes: Count = Field(default=4 << 30, description="All code and output together.")


class Lifetime(Section):
    """What a VM gets whose request names neither."""

    ttl: Count | None = Field(default=None, description="Seconds after creation at which a VM is deleted.")
    idle_timeout: Count | None = Field(
        default=None, description="Seconds without use after which a VM is stopped."
    )


class Warm(Section):
    """Interpreters kept ready."""

    spares: int = Field(default=2, ge=0, description="Per running VM.")


class Periods(Section):
    """How long the pool waits, and how often it looks.  Seconds."""

    create_timeout: Seconds = Field(default=120, description="For making a machine.")
    stop_grace: Seconds = Field(
        default=2, description="Between asking a VM's processes to end and ending them."
    )
    cleanup_timeout: Seconds = Field(default=30, description="For cleaning up after a cancelled request.")
    reconcile_every: Seconds = Field(default=15, description="Between two comparisons of rows and machines.")
    expire_every: Seconds = Field(
        default=5, description="Between two looks for VMs past ttl or idle_timeout."
    )


class Log(Section):
    """The server's own log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe entries that are written."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal."
    )


class Auth(Section):
    """Who may call."""

    owner_key: bool = Field(
        default=True,
        description="On loopback with no users: make one key, readable by the server's owner only.",
    )


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
    listen: Listen = Listen()
    docker: Docker = Docker()
    bubblewrap: Bubblewrap = Bubblewrap()
    limits: LimitSettings = LimitSettings()
    output: Output = Output()
    retention: RetentionSettings = RetentionSettings()
    lifetime: Lifetime = Lifetime()
    warm: Warm = Warm()
    periods: Periods = Periods()
    log: Log = Log()
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
