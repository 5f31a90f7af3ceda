"""VMs as containers of a Docker Engine, or of anything that speaks its API."""

from vmpool.backends.docker.backend import DockerBackend
from vmpool.backends.docker.engine import Availability, docker_available

__all__ = ["Availability", "DockerBackend", "docker_available"]
