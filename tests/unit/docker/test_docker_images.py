from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from vmpool.backends.docker import images
from vmpool.domain import LANGUAGES
from vmpool.domain.language import VM_PATH
from vmpool.errors import BackendUnreachable, TemplateNotFound


def test_every_language_has_a_template() -> None:
    assert set(images.templates()) == set(LANGUAGES)


@pytest.mark.parametrize("template", sorted(LANGUAGES))
def test_a_template_names_itself_and_its_release(template: str) -> None:
    text = (images.dockerfiles() / template / "Dockerfile").read_text()
    assert f"LABEL vmpool.template={template}\n" in text
    assert images.release_of(template) in ("bookworm", "trixie")


def test_the_images_search_path_is_the_one_of_every_vm() -> None:
    assert f"ENV PATH={VM_PATH} " in (images.dockerfiles() / "base" / "Dockerfile").read_text()


def test_an_unknown_template() -> None:
    with pytest.raises(TemplateNotFound):
        images.release_of("cobol")


def test_proxies_of_the_host_reach_the_build() -> None:
    environment = {"http_proxy": "http://p:1", "HTTPS_PROXY": "http://p:2", "HOME": "/root"}
    assert images._proxies(environment) == {"http_proxy": "http://p:1", "HTTPS_PROXY": "http://p:2"}


@pytest.mark.anyio
async def test_the_same_files_make_the_same_context(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 5000)
    files: dict[str, bytes | Path] = {"Dockerfile": b"FROM scratch\n", "large": large}
    async with images._context(files) as one, images._context(files) as other:
        content = one.read()
        assert content == other.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == ["Dockerfile", "large"]


@pytest.mark.anyio
async def test_building_without_an_engine_says_so() -> None:
    with pytest.raises(BackendUnreachable, match="start Docker"):
        await images.build_images(["bash"], host="unix:///nonexistent/engine.sock")


@pytest.mark.anyio
async def test_what_is_built_already_is_answered_by_the_engines_cache(engine: None) -> None:
    seen: list[images.Progress] = []
    assert await images.build_images(["bash"], report=seen.append) == ("vmpool/bash",)
    assert [progress.kind for progress in seen][:1] == ["started"]
    assert seen[-1].kind == "done"
    assert seen[-1].text.startswith("sha256:")
