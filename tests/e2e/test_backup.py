"""A server's state in one file, taken while it works, and another server on it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from tests.server_process import ServerProcess, server

from .conftest import site_in
from .test_server import create, execute

LONG = 3 << 20
"""Bytes of output: more than a row holds."""
BUSY = "for i in $(seq 100000); do echo $i >> count; [ -e stop ] && break; done; echo ended"


def delete_all(running: ServerProcess) -> None:
    for vm in running.client.get("/api/vms").json():
        assert running.client.delete(f"/api/vms/{vm['id']}").status_code == 204


def test_a_backup_of_a_working_server(tmp_path: Path) -> None:
    old, new = site_in(tmp_path / "old"), site_in(tmp_path / "new")
    file = tmp_path / "backup"
    with server(old.state_dir, tmp_path / "output", BACKEND="bubblewrap") as first:
        box = create(first, "box")
        create(first, "idle")
        execute(first, "box", command="echo early > note; chmod 000 note; mkdir deep; echo x > deep/file")
        kept = first.client.post("/api/vms/box/snapshot", json={"name": "early"}).json()
        execute(first, "box", command="chmod 600 note; echo late > note")
        long = execute(first, "box", command=f"yes | head -c {LONG}")
        assert first.client.post("/api/vms/idle/stop").status_code == 200
        ended: list[str] = []
        writer = threading.Thread(
            target=lambda: ended.append(execute(first, "box", command=BUSY)["output"]), name="busy"
        )
        writer.start()
        execute(first, "box", command="until [ -s count ]; do sleep 0.05; done")
        made = old.vm("server", "backup", str(file))
        assert made.returncode == 0, made.stderr
        assert "2 VMs and 1 snapshots with their files" in made.stdout
        assert "not in it" not in made.stderr
        execute(first, "box", command="touch stop")  # it goes on: nothing is held any more
        writer.join(60)
        assert ended == ["ended\n"]
        history = len(first.client.get("/api/vms/box/executions").json())
        again = old.vm("server", "backup", str(file))
        assert (again.returncode, "exists" in again.stderr) == (125, True)
        delete_all(first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "old", "output"]

    restored = new.vm("server", "restore", str(file), "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["vms"] == 2
    with server(new.state_dir, tmp_path / "output", BACKEND="bubblewrap") as second:
        assert second.key == first.key
        assert {vm["name"]: vm["status"] for vm in second.client.get("/api/vms").json()} == {
            "box": "stopped",
            "idle": "stopped",
        }
        # what ran at that moment ended with its host; all that had ended is there
        assert len(second.client.get("/api/vms/box/executions").json()) >= history - 2
        output = second.client.get(f"/api/vms/box/executions/{long['id']}/output")
        assert output.content == b"y\n" * (LONG // 2)
        assert second.client.post("/api/vms/box/start").status_code == 200
        found = execute(second, box["id"], command="cat note deep/file; [ -s count ] && echo counted")
        assert found["output"] == "late\nx\ncounted\n"
        back = second.client.post("/api/vms/box/restore", json={"snapshot_id": kept["id"]})
        assert back.status_code == 200, back.text
        assert execute(second, "box", command="chmod 600 note; cat note")["output"] == "early\n"
        delete_all(second)


def test_there_is_nothing_to_save(tmp_path: Path) -> None:
    site = site_in(tmp_path / "state")
    ran = site.vm("server", "backup", str(tmp_path / "file"))
    assert ran.returncode == 125
    assert "no state directory" in ran.stderr
    assert list(tmp_path.iterdir()) == []
