"""A run's page: what was measured, what failed and who was absent."""

from __future__ import annotations

import json
from pathlib import Path

from bench import plots, report
from bench.contenders import names
from bench.contenders.base import Contender
from bench.figures import rate, summary
from bench.plan import Plan
from bench.run import Run


class Named(Contender):
    def __init__(self, name: str) -> None:
        self.name = name
        self.version = "1"

    def close(self) -> None:
        raise ValueError("it | breaks")


def finished() -> Run:
    run = Run(Plan.quick(), lambda text: None)
    run.contenders = [Named(names.BARE), Named(names.BUBBLEWRAP)]
    run.absent["crun"] = "not here"
    run.close(run.contenders[:1])
    run.rounds(
        "execute", run.contenders, 4, lambda contender: 0.01 if contender.name == names.BARE else 0.002
    )
    run.record("throughput_10", names.BUBBLEWRAP, rate([0.01] * 10, 0, 1.0, 0.1))
    run.record("burst_10", names.BUBBLEWRAP, summary([0.1] * 10) | {"wall": 0.5})
    run.record("memory_100", names.BUBBLEWRAP, {"n": 100, "failures": 0, "unused": 5e5, "unused_server": 1e5})
    return run


def test_page() -> None:
    document = report.document(finished(), {"cores": "2"})
    page = report.page(document, [("A plot", "a.svg")])
    assert f"| execute ÷ bare `python3 -c`: {names.BUBBLEWRAP} | ≤ 0.3 | 0.2 | met |" in page
    assert f"| {names.BUBBLEWRAP} | 2.00 | 2.00 | 2.00 | 2.00 | 4 | 0 |" in page
    assert "## Sustained throughput, 10 in flight" in page
    assert "![A plot](a.svg)" in page
    assert "- crun: not here" in page
    assert f"- close, {names.BARE}: `ValueError: it | breaks`" in page
    assert "| cores | 2 |" in page


def test_failures_are_counted_beside_successes() -> None:
    run = Run(Plan.quick(), lambda text: None)
    turns = iter([0.01, None, 0.02])

    def once(contender: Contender) -> float:
        taken = next(turns)
        if taken is None:
            raise ValueError("no")
        return taken

    run.rounds("execute", [Named("one")], 3, once)
    assert run.results["execute"]["one"]["n"] == 2
    assert run.results["execute"]["one"]["failures"] == 1
    assert run.troubles["execute"]["one"] == ["ValueError: no"]


def test_a_slow_contender_sits_rounds_out() -> None:
    run = Run(Plan.quick(), lambda text: None)
    slow = Named("slow")
    slow.every = 4
    run.rounds("execute", [Named("quick"), slow], 8, lambda contender: 0.01)
    assert {name: figures["n"] for name, figures in run.results["execute"].items()} == {"quick": 8, "slow": 2}


def test_json_and_plots(tmp_path: Path) -> None:
    document = report.document(finished(), {})
    report.write_json(tmp_path / "results.json", document)
    assert json.loads((tmp_path / "results.json").read_text())["results"]["execute"][names.BARE]["n"] == 4
    drawn = plots.draw(document["results"], tmp_path)
    assert sorted(path.name for _, path in drawn) == ["execute.svg", "throughput.svg"]
    assert all(path.read_text().startswith("<?xml") for _, path in drawn)
