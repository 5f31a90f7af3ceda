"""An image that an operator has made, as a template: what docs/templates.md says of it."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.pools import why_missing
from tests.server_process import server
from vmpool import Client

pytestmark = pytest.mark.timeout(120)

DOCKERFILE = """
FROM vmpool/bash
USER root
RUN echo made by root > /etc/of-our-own
ENTRYPOINT ["/bin/false"]
ENV FROM_THE_IMAGE=yes
"""


@pytest.fixture
def image(request: pytest.FixtureRequest) -> Iterator[str]:
    """A template's name that an image of the engine bears."""
    missing = why_missing("docker")
    if missing is not None:
        if "docker" in request.config.getoption("--require-backend"):
            pytest.fail(f"docker is required and not available: {missing}", pytrace=False)
        pytest.skip(f"docker: {missing}")
    name = f"test-{uuid.uuid4().hex[:8]}"
    command = ["docker", "build", "-q", "-t", f"vmpool/{name}", "--label", f"vmpool.template={name}", "-"]
    subprocess.run(command, input=DOCKERFILE, text=True, check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", "-f", f"vmpool/{name}"], check=True, capture_output=True)


def test_an_image_with_the_label_is_a_template(image: str, tmp_path: Path) -> None:
    nothing_kept = {"BACKEND": "docker", "TEMPLATES__CACHE_PER_USER": "0"}
    with (
        server(tmp_path / "state", tmp_path / "log", **nothing_kept) as process,
        Client(process.url, process.key) as client,
    ):
        assert image in client.pool_status().backend.templates
        vm = client.create_vm("box", "bash", template=image)
        ran = vm.execute(command="cat /etc/of-our-own; id -un; pwd; touch mine && echo writable")
        assert ran.output == "made by root\nuser\n/home/user\nwritable\n", ran.error
        assert vm.execute(command="echo x >> /etc/of-our-own").exit_code != 0  # it is not root
        made = client.templates.wait(
            client.templates.build("of-it", image, [{"run": "cp /etc/of-our-own ."}], language="bash")
        )
        assert made.state == "ready", made.failure
        fresh = client.create_vm("fresh", template="of-it")
        assert fresh.execute(command="cat of-our-own").output == "made by root\n"
        client.templates.delete("of-it")
        for one in (vm, fresh):
            one.delete()
