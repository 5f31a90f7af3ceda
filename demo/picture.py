"""The picture: how many were through at each moment, and how long each took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl


def draw(runs: Sequence[tuple[float, float]], title: str, path: Path) -> None:
    """Write a PNG or SVG, by the path's suffix.  runs: start and end of each, in seconds."""
    mpl.use("agg")
    from matplotlib import pyplot

    ends = sorted(end for _, end in runs)
    times = sorted(1000 * (end - start) for start, end in runs)
    median, tail = times[len(times) // 2], times[int(0.95 * (len(times) - 1))]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    left.step([0.0, *ends], range(len(ends) + 1), where="post")
    left.set(xlabel="seconds since the first VM was asked for", ylabel="problems through", xlim=(0, None))
    left.set_ylim(0)
    right.hist(times, bins=40)
    right.axvline(median, color="black", label=f"median {median:.1f} ms")
    right.axvline(tail, color="black", linestyle="--", label=f"p95 {tail:.1f} ms")
    right.set(xlabel="milliseconds a problem, over REST", ylabel="problems")
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
