from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

import pytest

from vmpool.service_manager import VARIABLE, ServiceManager


@pytest.mark.parametrize("abstract", [False, True])
def test_what_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool) -> None:
    name = f"vmpool-{uuid.uuid4().hex}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv(VARIABLE, f"@{name}" if abstract else name)
        manager = ServiceManager()
        assert VARIABLE not in os.environ
        manager.ready()
        manager.stopping()
        assert [listener.recv(64), listener.recv(64)] == [b"READY=1\n", b"STOPPING=1\n"]


@pytest.mark.parametrize("address", ["", "/nonexistent/socket", "vsock:1:2"])
def test_nobody_who_listens_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(VARIABLE, address)
    ServiceManager().ready()
