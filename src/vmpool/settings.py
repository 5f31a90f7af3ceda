"""Everything a server can be told: from the environment (`VMPOOL_*`) and a TOML file, in this order.

The file is the one named by `VMPOOL_CONFIG`, else `/etc/vmpool/vmpool.toml` or, for an ordinary user,
`$XDG_CONFIG_HOME/vmpool/vmpool.toml`.  Its keys are the fields' names, those of the pool in a table
`[pool]`; in the environment they are `VMPOOL_PORT` and `VMPOOL_POOL__MAX_TOTAL_VMS`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from vmpool.pool.settings import PoolSettings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8321

BackendChoice = Literal["auto", "docker", "bubblewrap", "fake"]


def default_state_dir() -> Path:
    """Where a server keeps its state: /var/lib/vmpool for root, else below the user's state home."""
    if os.geteuid() == 0:
        return Path("/var/lib/vmpool")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "vmpool"


def config_file() -> Path:
    """The TOML file that is read, where it exists."""
    named = os.environ.get("VMPOOL_CONFIG")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/etc/vmpool/vmpool.toml")
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "vmpool" / "vmpool.toml"


class DockerSettings(BaseModel):
    """The Docker backend's own.  host: an engine's URL, None for the local one.  runtime: an OCI runtime."""

    model_config = ConfigDict(extra="forbid")

    host: str | None = None
    runtime: str | None = None
    image_prefix: str = "vmpool/"


class Settings(BaseSettings):
    """One server.

    host, port: where it listens; port 0 takes a free one.  database: a SQLAlchemy URL, None for SQLite
    in the state directory.  backend: "auto" decides when the state directory is made.  drain: seconds
    that requests in progress are given at the end.  max_body: bytes of a request's body.
    """

    model_config = SettingsConfigDict(env_prefix="VMPOOL_", env_nested_delimiter="__", extra="forbid")

    host: str = DEFAULT_HOST
    port: int = Field(DEFAULT_PORT, ge=0, le=65535)
    state_dir: Path = Field(default_factory=default_state_dir)
    database: str | None = None
    backend: BackendChoice = "auto"
    drain: float = Field(10.0, ge=0)
    max_body: int = Field(16 << 20, gt=0)
    access_log: bool = False
    docker: DockerSettings = Field(default_factory=DockerSettings)
    pool: PoolSettings = Field(default_factory=PoolSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file()))
