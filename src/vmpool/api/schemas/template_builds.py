"""Builds of templates."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import Answer, Packages, Request, ShortText, Variables
from vmpool.api.schemas.executions import Seconds
from vmpool.domain.template_build import MAX_FILES, BuildState, Step

MAX_CONTENT_CHARACTERS = 16 << 20
"""Of one file; the body of a request ends before."""

Content = Annotated[str, StringConstraints(max_length=MAX_CONTENT_CHARACTERS)]


class EncodedFile(Request):
    """A file that is not text."""

    base64: Content = Field(description="Its content.")
    executable: bool = Field(default=False, description="It can be run.")


Path = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class BuildStep(Request):
    """One step of a build: exactly one of `packages`, `files` and `run`."""

    packages: Packages = Field(default=[], description="Installed by `manager`.", examples=[["requests"]])
    manager: ShortText | None = Field(default=None, description="Default: that of the template's language.")
    files: Annotated[dict[Path, Content | EncodedFile], Field(max_length=MAX_FILES)] = Field(
        default={}, description="Content by path, relative to the home directory."
    )
    run: Annotated[str, StringConstraints(min_length=1, max_length=128 << 10)] | None = Field(
        default=None, description="A shell command line."
    )
    env: Variables = Field(default={}, description="Variables of `run`.")
    cwd: Path | None = Field(default=None, description="Directory of `run`.")
    timeout: Seconds | None = Field(default=None, description="Seconds. Default: an execution's.")

    def step(self) -> Step:
        """As the pool takes it."""
        return Step(
            packages=tuple(self.packages),
            manager=self.manager,
            files={path: _encoded(content) for path, content in self.files.items()},
            executable=tuple(
                path
                for path, content in self.files.items()
                if isinstance(content, EncodedFile) and content.executable
            ),
            run=self.run,
            env=self.env,
            cwd=self.cwd,
            timeout=self.timeout,
        )


def _encoded(content: str | EncodedFile) -> str:
    if isinstance(content, str):
        return b64encode(content.encode()).decode()
    return content.base64


class TemplateBuild(Answer):
    """A template on its way, or what became of one."""

    id: int
    name: str = Field(description="The template's.")
    description: str
    base: str = Field(description="The template it begins with.")
    steps: list[str] = Field(description="What is shown of each.")
    done: int = Field(description="Steps that are done; `steps[done]` of a failed build is what failed.")
    state: BuildState
    failure: str | None = Field(description="Why there is no template, with the end of the step's output.")
    template_id: int | None
    created_at: datetime
    ended_at: datetime | None


class BuildOutput(Answer):
    """A piece of a build's log.  offset: of its first byte."""

    offset: int
    text: str
