"""What a backup does not hold."""

from __future__ import annotations

from pathlib import Path

from vmpool.backup.save import _rest


def test_keys_that_open_the_database_are_not_beside_it(tmp_path: Path) -> None:
    state, content = tmp_path / "state", tmp_path / "content"
    for directory in (state, content):
        directory.mkdir()
    for name in ("secrets.key", "webhooks.key", "owner.key", "lock"):
        (state / name).write_text("x")
    _rest(state, content)
    assert [path.name for path in content.iterdir()] == ["owner.key"]
