"""Files that say how a template is built."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from vmpool.cli.template_files import NoTemplate, TemplateFile, read_template


def written(directory: Path, text: str) -> Path:
    path = directory / "template.toml"
    path.write_text(text)
    return path


def test_steps_are_as_the_api_takes_them(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"\0")
    (tmp_path / "many" / "sub").mkdir(parents=True)
    (tmp_path / "many" / "sub" / "two").write_text("2")
    text = """
    from = "python"
    language = "bash"
    [[steps]]
    packages = ["a"]
    [[steps]]
    files = { x = "y" }
    copy = { "to/one" = "one", "all" = "many" }
    [[steps]]
    run = "true"
    env = { A = "b" }
    """
    one, two = (b64encode(data).decode() for data in (b"\0", b"2"))
    assert read_template(written(tmp_path, text)) == TemplateFile(
        "python",
        [
            {"packages": ["a"]},
            {"files": {"x": "y", "to/one": {"base64": one}, "all/sub/two": {"base64": two}}},
            {"run": "true", "env": {"A": "b"}},
        ],
        None,
        "bash",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from = ", "Invalid value"),
        ("[[steps]]\nrun = 'a'", "from"),
        ("from = 'a'", "steps"),
        ("from = 'a'\nsteps = ['b']", "steps"),
        ("form = 'a'", "'form' is none of"),
        ("from = 'a'\n[[steps]]\nrum = 'a'", "step 1: 'rum' is none of"),
        ("from = 'a'\n[[steps]]\ncopy = ['a']", "step 1: copy takes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(NoTemplate, match=said):
        read_template(written(tmp_path, text))


def test_what_is_to_be_copied_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_template(written(tmp_path, "from = 'a'\n[[steps]]\ncopy = { a = 'nowhere' }"))
