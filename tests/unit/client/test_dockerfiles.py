"""Dockerfiles as steps of templates."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from vmpool.client.dockerfiles import HOME, NotTranslatable, translate


def content(text: str) -> dict[str, str]:
    return {"base64": b64encode(text.encode()).decode()}


def steps(text: str, context: Path, **arguments: str) -> list[dict[str, Any]]:
    return translate(f"FROM python\n{text}", context, arguments).steps


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "sub/c.txt", "sub/deep/d.py"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_whole_file(context: Path) -> None:
    found = translate(
        """# syntax=docker/dockerfile:1
        ARG VERSION=3.13
        FROM vmpool/python$VERSION

        # what is needed
        ENV GREETING="hello there" NAME=x
        WORKDIR /home/user/app
        COPY sub/ .
        RUN pip install requests && \\
            # in between
            echo $GREETING
        RUN ["echo", "a b"]
        """,
        context,
    )
    env = {"VERSION": "3.13", "GREETING": "hello there", "NAME": "x"}
    assert found.base == "python3.13"
    assert found.steps == [
        {"run": "mkdir -p /home/user/app"},
        {
            "files": {
                "/home/user/app/c.txt": content("sub/c.txt"),
                "/home/user/app/deep/d.py": content("sub/deep/d.py"),
            }
        },
        {"run": "pip install requests && echo $GREETING", "cwd": "/home/user/app", "env": env},
        {"run": "echo 'a b'", "cwd": "/home/user/app", "env": env},
    ]


@pytest.mark.parametrize(
    ("copy", "names"),
    [
        ("a.txt there", ["there"]),
        ("a.txt there/", ["there/a.txt"]),
        ("a.txt .", ["a.txt"]),
        ("a.txt b.txt there", ["there/a.txt", "there/b.txt"]),
        ("*.txt there", ["there/a.txt", "there/b.txt"]),
        ("./sub/*.txt there/", ["there/c.txt"]),
        ("/sub there", ["there/c.txt", "there/deep/d.py"]),
        ('["a.txt", "a file"]', ["a file"]),
        ("a.txt /tmp/x", ["/tmp/x"]),
    ],
)
def test_what_is_copied_goes_where_docker_would_put_it(context: Path, copy: str, names: list[str]) -> None:
    (step,) = steps(f"COPY {copy}", context)
    assert sorted(step["files"]) == [name if name.startswith("/") else f"{HOME}/{name}" for name in names]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "one"),
        ("${A}x", "onex"),
        ("${B:-two}", "two"),
        ("${A:-two}", "one"),
        ("${A:+yes}${B:+no}", "yes"),
        ("\\$A", "$A"),
        ("$B", ""),
    ],
)
def test_variables(context: Path, text: str, value: str) -> None:
    (step,) = steps(f"ENV A=one\nENV C {text}\nRUN true", context)
    assert step["env"]["C"] == value


def test_arguments_are_given_or_have_defaults(context: Path) -> None:
    assert steps("ARG A=1\nARG B\nRUN true", context, B="2")[0]["env"] == {"A": "1", "B": "2"}
    assert steps("ARG A=1\nRUN true", context, A="3")[0]["env"] == {"A": "3"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("USER root\nRUN true", "line 2: USER cannot be done in a VM: leave it out: steps run as"),
        ("EXPOSE 80", "vm forward"),
        ("FROM python AS other", "comes twice"),
        ("RUN --mount=type=cache true", "--mount=type=cache"),
        ("RUN <<END", "here-document"),
        ("COPY --from=other a b", "--from"),
        ("COPY nowhere x", "finds no 'nowhere'"),
        ("COPY ../x y", "outside"),
        ("COPY sub/../../x y", "outside"),
        ("COPY out x", "outside"),
        ("COPY x", "at least"),
        ("ENV A", "NAME=value"),
        ("WORKDIR /app\nRUN true", "such as /home/user/app"),
        ("COPY a.txt /etc/x", "such as /home/user/etc/x"),
        ("RUNN true", "no instruction"),
        ("ENV A=1", "does nothing"),
        ("RUN true\nADD http://x y", "line 3: ADD .* use COPY"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(context: Path, text: str, said: str) -> None:
    (context / "out").symlink_to("/etc/hostname")
    with pytest.raises(NotTranslatable, match=said):
        steps(text, context)


@pytest.mark.parametrize(
    "text", ["", "RUN true", "FROM debian:bookworm\nRUN true", "FROM a b c\nRUN true", "FROM x/y\nRUN true"]
)
def test_it_begins_with_a_template(context: Path, text: str) -> None:
    with pytest.raises(NotTranslatable):
        translate(text, context)


def test_what_can_be_executed_stays_so(context: Path) -> None:
    (context / "a.txt").chmod(0o755)
    (step,) = steps("COPY a.txt b.txt there/", context)
    assert [found.get("executable") for found in step["files"].values()] == [True, None]


def test_a_link_in_a_directory_is_not_followed(context: Path) -> None:
    (context / "sub" / "link").symlink_to("/etc/passwd")
    with pytest.raises(NotTranslatable, match="is a link"):
        steps("COPY sub there", context)
