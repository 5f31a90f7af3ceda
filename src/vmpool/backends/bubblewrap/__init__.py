"""The embedded backend: namespaces over an allow-list of the host, no daemon and no image."""

from vmpool.backends.bubblewrap.backend import BubblewrapBackend

__all__ = ["BubblewrapBackend"]
