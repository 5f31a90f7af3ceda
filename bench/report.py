"""Results as JSON, a table and plots, all written from the same values."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.contenders import Contender
from bench.scenarios import Results, Throughput

PERCENTILES = (0.5, 0.95)


@dataclass(frozen=True)
class Bar:
    """A promised ratio: `measured` is None where a contender is missing."""

    what: str
    limit: float
    measured: float | None

    def line(self) -> str:
        """One line for people."""
        if self.measured is None:
            return f"  not measured  {self.what}"
        verdict = "met   " if self.measured <= self.limit else "MISSED"
        return f"  {verdict}  {self.measured:6.3f} (at most {self.limit:g})  {self.what}"


@dataclass(frozen=True)
class Report:
    """One run."""

    contenders: Sequence[Contender]
    execute: Results
    create: Results
    throughput: Mapping[str, Throughput]

    def bars(self) -> list[Bar]:
        """The promised ratios, from this run's medians."""
        bare = "bare python3 (bubblewrap's)"
        return [
            Bar(
                "execute, docker over REST ÷ docker exec (CLI)",
                0.1,
                _ratio(self.execute, "vmpool docker, REST", "docker exec, CLI"),
            ),
            Bar(
                "create to first output, bubblewrap over REST ÷ bare interpreter",
                5,
                _ratio(self.create, "vmpool bubblewrap, REST", bare),
            ),
        ]

    def table(self) -> str:
        """Markdown; milliseconds."""
        lines = [
            "| | execute p50 | p95 | create → output p50 | p95 | executions/s, ten sandboxes | failures |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for contender in self.contenders:
            name = contender.name
            cells = [_milliseconds(self.execute, name, share) for share in PERCENTILES]
            cells += [_milliseconds(self.create, name, share) for share in PERCENTILES]
            rate = self.throughput.get(name)
            median = rate.median() if rate else None
            cells.append("-" if median is None else f"{median:.1f}")
            cells.append(str(self._failures(name)))
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def write(self, directory: Path) -> list[Path]:
        """results.json, results.md and one plot a scenario, in `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        written = [directory / "results.json", directory / "results.md"]
        written[0].write_text(json.dumps(self._document(), indent=1) + "\n")
        heading = " · ".join(f"{key}: {value}" for key, value in _machine().items())
        written[1].write_text(f"{heading}\n\n{self.table()}\n\nMedians and 95th percentiles in ms.\n")
        return written + _plots(self, directory)

    def _failures(self, name: str) -> int:
        total = sum(results[name].failures for results in (self.execute, self.create) if name in results)
        return total + (self.throughput[name].failures if name in self.throughput else 0)

    def _document(self) -> dict[str, object]:
        return {
            "machine": _machine(),
            "contenders": {contender.name: contender.version for contender in self.contenders},
            "execute_seconds": {name: asdict(samples) for name, samples in self.execute.items()},
            "create_seconds": {name: asdict(samples) for name, samples in self.create.items()},
            "throughput": {name: asdict(result) for name, result in self.throughput.items()},
            "bars": [asdict(bar) for bar in self.bars()],
        }


def _ratio(results: Results, ours: str, theirs: str) -> float | None:
    medians = [results[name].percentile(0.5) if name in results else None for name in (ours, theirs)]
    if medians[0] is None or medians[1] is None:
        return None
    return medians[0] / medians[1]


def _milliseconds(results: Results, name: str, share: float) -> str:
    value = results[name].percentile(share) if name in results else None
    return "-" if value is None else f"{value * 1000:.1f}"


def _machine() -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit or "unknown",
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _plots(report: Report, directory: Path) -> list[Path]:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    drawn: list[Path] = []
    for name, title, results in (
        ("execute", "Execute print(1+1) in a sandbox that stands ready", report.execute),
        ("create", "From nothing to the first output", report.create),
    ):
        present = [key for key, samples in results.items() if samples.seconds]
        figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(present) + 1.2), layout="constrained")
        axes.boxplot(
            [[1000 * second for second in results[key].seconds] for key in present],
            orientation="horizontal",
            tick_labels=present,
            showfliers=False,
        )
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds (log scale; box: quartiles, line: median)")
        axes.set_title(title)
        axes.invert_yaxis()
        drawn.append(directory / f"{name}.svg")
        figure.savefig(drawn[-1])
        pyplot.close(figure)
    rates = {name: median for name, result in report.throughput.items() if (median := result.median())}
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(rates) + 1.2), layout="constrained")
    bars = axes.barh(list(rates), list(rates.values()))
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_title("Executions a second, ten sandboxes at once")
    axes.invert_yaxis()
    drawn.append(directory / "throughput.svg")
    figure.savefig(drawn[-1])
    pyplot.close(figure)
    return drawn
