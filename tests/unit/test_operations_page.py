"""The pages for operators name what there is: every figure, and no setting that is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmpool.settings import describe_settings
from vmpool.telemetry import Metrics

DOCS = Path(__file__).parents[2] / "docs"


def test_every_figure_that_is_counted_is_explained() -> None:
    page = (DOCS / "operations.md").read_text()
    for family in Metrics().families():
        assert re.search(rf"`{family.name}[`{{]", page), family.name


@pytest.mark.parametrize("name", ["operations.md", "security.md"])
def test_every_setting_that_is_named_exists(name: str) -> None:
    settings = {setting for setting, *_ in describe_settings()}
    sections = {setting.partition(".")[0] for setting in settings if "." in setting}
    named = {
        word
        for word in re.findall(r"`([a-z_]+\.[a-z_]+)`", (DOCS / name).read_text())
        if word.partition(".")[0] in sections
    }
    assert named
    assert named <= settings
