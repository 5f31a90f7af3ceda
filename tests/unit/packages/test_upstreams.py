"""What stands behind the registry where the operator names nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmpool.errors import InvalidRequest
from vmpool.packages import upstreams


def test_the_environment_wins_over_the_file_and_that_over_the_default(tmp_path: Path) -> None:
    environ = {"PIP_CONFIG_FILE": "/dev/null", "XDG_CONFIG_HOME": str(tmp_path)}
    if not Path("/etc/pip.conf").exists():
        assert upstreams.configured("pypi", environ, tmp_path) is None
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text("[global]\nindex-url = http://mirror.example/simple\n")
    assert upstreams.configured("pypi", environ, tmp_path) == "http://mirror.example/simple/"
    environ["PIP_INDEX_URL"] = "https://other.example/simple/"
    assert upstreams.configured("pypi", environ, tmp_path) == "https://other.example/simple/"


def test_one_with_a_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    environ = {"PIP_INDEX_URL": "https://me:secret@mirror.example/simple", "XDG_CONFIG_HOME": str(tmp_path)}
    assert "secret" not in (upstreams.configured("pypi", environ, None) or "")


@pytest.mark.parametrize(
    "url", ["ftp://x.example/", "mirror.example/simple", "http://", "https://x.example/?a"]
)
def test_a_setting_that_is_no_registry_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"packages\.pypi"):
        upstreams.upstream("packages.pypi", url)


def test_npm_is_asked_as_its_own_configuration_says(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("audit=false\nregistry = http://mirror.example/npm\n")
    assert upstreams.configured("npm", {}, tmp_path) == "http://mirror.example/npm/"
    named = {"npm_config_registry": "https://other.example"}
    assert upstreams.configured("npm", named, tmp_path) == "https://other.example/"


@pytest.mark.anyio
async def test_a_tool_names_its_own_default_once_it_is_wanted() -> None:
    known = upstreams.Upstreams({"pypi": None, "npm": "http://mirror.example/npm/", "cargo": None})
    assert "pypi" in known and "gem" not in known
    found = await known.url("pypi")
    assert found is not None and found.startswith("https://") and found.endswith("/simple/")
    assert await known.url("npm") == "http://mirror.example/npm/"
    assert await known.url("cargo") is None
