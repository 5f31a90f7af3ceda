"""What is asked for when a VM is to be made, and what already counts when that is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vmpool.domain.limits import Limits
from vmpool.domain.network import NetworkPolicy


@dataclass(frozen=True, slots=True)
class NewVM:
    """A VM that is to be inserted as CREATING.  `ttl`, `idle_timeout` and `idle_pause` are seconds.

    isolation: the backend's word for it, as far as known before the machine is made.  forked_from: the VM it
    is a copy of; template_id, made_from: the user's template it comes from; restored_from: the snapshot it is
    made from in either case.
    """

    user_id: int
    name: str
    language: str
    template: str
    backend: str
    isolation: str
    limits: Limits = field(default_factory=Limits)
    network: str = "none"
    network_policy: NetworkPolicy = field(default_factory=NetworkPolicy)
    ttl: int | None = None
    idle_timeout: int | None = None
    idle_pause: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    forked_from: int | None = None
    template_id: int | None = None
    made_from: str | None = None
    build_id: int | None = None
    restored_from: int | None = None


@dataclass(frozen=True, slots=True)
class Census:
    """What counts towards the limits at one moment: every VM that is not DELETED, the new one excluded.

    vms: those of all users.  of_user: those of the asking user.  memory: the sum of their memory limits
    in MB.  cpu: the sum of their CPU limits in cores.  disk: the sum of their disk limits in MB.
    quota: VMs the asking user may have; None: as many as everybody.
    """

    vms: int
    of_user: int
    memory: int
    cpu: float
    disk: int
    quota: int | None = None
