"""The inside of a VM, seen from the host: the wire codec and a client over any byte stream."""

from vmpool.agent.base import (
    AgentClient,
    Exit,
    GuestConnection,
    NetworkListen,
    NetworkStream,
    Output,
    Process,
    ProcessSpec,
)
from vmpool.agent.client import Client, open_client

__all__ = [
    "AgentClient",
    "Client",
    "Exit",
    "GuestConnection",
    "NetworkListen",
    "NetworkStream",
    "Output",
    "Process",
    "ProcessSpec",
    "open_client",
]
