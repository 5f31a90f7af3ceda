"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Rounds and sizes of every scenario; the defaults are the full run's.

    minute, seconds: of sustained throughput, vmpool's and most others'; what bars divide by has a third
    of the minute.
    """

    sandboxes: int = 10
    execute_rounds: int = 500
    create_rounds: int = 20
    warm_rounds: int = 20
    removal_rounds: int = 10
    node_rounds: int = 100
    bursts: tuple[int, ...] = (10, 50, 100)
    in_flight: tuple[int, ...] = (1, 10, 50)
    minute: float = 60.0
    seconds: float = 5.0
    batches: tuple[int, ...] = (10, 100)
    batch_rounds: int = 10
    first_rounds: int = 100
    file: int = 256 << 20
    file_rounds: int = 9
    forks: int = 10
    fork_rounds: int = 7
    installs: int = 10
    unchanged: int = 1 << 30
    snapshot_rounds: int = 7
    output: int = 100_000_000
    output_rounds: int = 3
    hundred: int = 100
    hundred_rounds: int = 3
    memory: tuple[int, ...] = (1, 10, 100)
    memory_most: int = 1000

    @classmethod
    def quick(cls) -> Plan:
        """Shows that everything works, in a few minutes; its figures mean little."""
        return cls(
            sandboxes=2,
            execute_rounds=20,
            create_rounds=2,
            warm_rounds=3,
            removal_rounds=2,
            node_rounds=5,
            bursts=(5,),
            in_flight=(1, 10),
            minute=3.0,
            seconds=1.0,
            batches=(2,),
            batch_rounds=2,
            first_rounds=5,
            file=16 << 20,
            file_rounds=2,
            forks=2,
            fork_rounds=1,
            installs=2,
            unchanged=64 << 20,
            snapshot_rounds=2,
            output=10_000_000,
            output_rounds=1,
            hundred=10,
            hundred_rounds=1,
            memory=(1, 5),
            memory_most=0,
        )
