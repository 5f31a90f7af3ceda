"""Plots of a run, from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.figures import Figures, Results

TITLES = {
    "execute": "Execute print(1+1) in a sandbox that stands ready",
    "create": "From nothing to the first output",
    "removal": "Stop and delete",
}
OURS, OTHERS, FLOORS = "#1f77b4", "#8c8c8c", "#2ca02c"


def draw(results: Results, directory: Path) -> list[tuple[str, Path]]:
    """One SVG for each scenario that was measured: title and path."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "vmpool"
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    for scenario, title in TITLES.items():
        if found := {name: f for name, f in results.get(scenario, {}).items() if "p50" in f}:
            drawn.append((title, _times(found, title, directory / f"{scenario}.svg")))
    loads = [scenario for scenario in results if scenario.startswith("throughput_")]
    best = {
        name: max(results[scenario].get(name, {}).get("per_second", 0.0) for scenario in loads)
        for name in dict.fromkeys(name for scenario in loads for name in results[scenario])
    }
    if best:
        title = "Executions a second, the best of all numbers in flight"
        drawn.append((title, _rates(best, title, directory / "throughput.svg")))
    return drawn


def _colour(name: str) -> str:
    if name.startswith("vmpool"):
        return OURS
    return FLOORS if name.startswith(("bare", "forking", "REST")) else OTHERS


def _times(contenders: Mapping[str, Figures], title: str, path: Path) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.35 * len(contenders) + 1.2), layout="constrained")
    boxes = [
        {
            "label": name,
            "whislo": 1000 * figures["min"],
            "q1": 1000 * figures["p25"],
            "med": 1000 * figures["p50"],
            "q3": 1000 * figures["p75"],
            "whishi": 1000 * figures["p95"],
        }
        for name, figures in contenders.items()
    ]
    parts = axes.bxp(boxes, orientation="horizontal", showfliers=False, patch_artist=True)
    for box, name in zip(parts["boxes"], contenders, strict=True):
        box.set_facecolor(_colour(name))
    axes.set_xscale("log")
    axes.set_xlabel(
        "milliseconds, log scale; line: median, box: quartiles, whiskers: least and 95th percentile"
    )
    axes.set_title(title)
    axes.invert_yaxis()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _rates(rates: Mapping[str, float], title: str, path: Path) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.35 * len(rates) + 1.2), layout="constrained")
    bars = axes.barh(list(rates), list(rates.values()), color=[_colour(name) for name in rates])
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_title(title)
    axes.invert_yaxis()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
