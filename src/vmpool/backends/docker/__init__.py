"""VMs as containers of a Docker Engine, or of anything that speaks its API."""

from vmpool.backends.docker.backend import DockerBackend

__all__ = ["DockerBackend"]
