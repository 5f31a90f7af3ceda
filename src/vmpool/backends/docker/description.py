"""What the API publishes of this backend: a pure function of the engine's facts."""

from __future__ import annotations

from collections.abc import Mapping

from vmpool.backends.base import BackendInfo
from vmpool.backends.docker.engine import Engine
from vmpool.backends.docker.spares import can_have_spares
from vmpool.backends.docker.storage import Storage


def description(engine: Engine, templates: Mapping[str, str]) -> BackendInfo:
    """Of the backend on this engine.  templates: those that have an image there, with its id."""
    return BackendInfo(
        name="docker",
        version=engine.version,
        isolation=engine.isolation,
        isolations=engine.isolations,
        soft_limits={
            isolation: tuple(engine.offering(isolation).soft_limits()) for isolation in engine.isolations
        },
        grade=engine.runtime,
        templates=tuple(templates),
        bases=dict(templates),
        enforcement=engine.enforcement(),
        capabilities=(
            *(() if engine.storage is Storage.MEMORY else ("snapshot",)),
            *(() if engine.podman else ("resize", "pause")),
            *(("spares",) if can_have_spares(engine) else ()),
            *(("network:full",) if engine.bridge else ()),
        ),
    )
