"""Machines in memory, with faults that have names."""

from vmpool.backends.fake.backend import FakeBackend
from vmpool.backends.fake.faults import Fail, Fault, ForgetOnRestart, Hold, LoseAfterCreate, Never, Slow
from vmpool.backends.fake.host import FakeHost, FakeMachine

__all__ = [
    "Fail",
    "FakeBackend",
    "FakeHost",
    "FakeMachine",
    "Fault",
    "ForgetOnRestart",
    "Hold",
    "LoseAfterCreate",
    "Never",
    "Slow",
]
