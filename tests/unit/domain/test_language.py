from __future__ import annotations

import pytest

from vmpool.domain import LANGUAGES, language_named
from vmpool.errors import InvalidRequest


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("python", "python"), ("py", "python"), ("Python3", "python"), (" PYTHON ", "python"),
        ("nodejs", "nodejs"), ("node", "nodejs"), ("js", "nodejs"), ("javascript", "nodejs"),
        ("java", "java"), ("go", "go"), ("golang", "go"), ("rust", "rust"), ("rs", "rust"),
        ("bash", "bash"), ("sh", "bash"), ("shell", "bash"),
        ("ts", "typescript"), ("C++", "cpp"), ("c", "c"), ("rb", "ruby"), ("pl", "perl"), ("php", "php"),
        ("python3.13", "python3.13"),
    ],
)  # fmt: skip
def test_names_and_aliases(said: str, meant: str) -> None:
    assert language_named(said).name == meant


def test_an_unknown_language_is_told_the_choices() -> None:
    with pytest.raises(
        InvalidRequest,
        match="python, nodejs, java, go, rust, typescript, c, cpp, ruby, php, perl, bash, python3",
    ) as caught:
        language_named("cobol")
    assert caught.value.context["field"] == "language"


def test_no_name_means_two_languages() -> None:
    names = [name for entry in LANGUAGES.values() for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", list(LANGUAGES))
def test_every_language_can_be_filled_in(name: str) -> None:
    language = LANGUAGES[name]
    words = (*language.build, *language.run)
    assert any("{source}" in word for word in words)
    assert language.toolchain
    assert language.version_of is None or language.version_of in LANGUAGES
    if language.takes_in is not None:
        assert language.run == ("{scratch}/main",) and language.build
