"""Counters and histograms, and the text in which Prometheus reads them.

They are counted on the event loop only, so a count is a dictionary entry without a lock, some 0.3
microseconds; executing code is counted in five places.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
"""Upper bounds that suit a request, an execution and a create alike."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: what follows the family's name, the labels and the value."""

    suffix: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """All that is said under one name."""

    name: str
    help: str
    kind: Kind
    samples: tuple[Sample, ...]


class Counter:
    """How often something happened, by the values of its labels.  labels: their names."""

    __slots__ = ("_values", "help", "labels", "name")

    def __init__(self, name: str, help: str, *labels: str) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, *labels: str, by: float = 1) -> None:
        """It happened.  labels: a value for each of its labels, from a bounded set."""
        self._values[labels] = self._values.get(labels, 0) + by

    def value(self, *labels: str) -> float:
        """How often so far."""
        return self._values.get(labels, 0)

    def family(self) -> Family:
        """As it is now."""
        samples = (Sample("", _named(self.labels, key), value) for key, value in self._values.items())
        return Family(self.name, self.help, "counter", tuple(samples))


class _Series:
    """Of one combination of labels.  counts: values up to each bound and above the one before."""

    __slots__ = ("counts", "total")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.total = 0.0


class Histogram:
    """How values are spread, by the values of its labels.  bounds: upper ones, rising."""

    __slots__ = ("_series", "bounds", "help", "labels", "name")

    def __init__(self, name: str, help: str, *labels: str, bounds: tuple[float, ...] = SECONDS) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self.bounds = bounds
        self._series: dict[tuple[str, ...], _Series] = {} if labels else {(): _Series(len(bounds) + 1)}

    def observe(self, value: float, *labels: str) -> None:
        """Take one value."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(len(self.bounds) + 1)
        series.counts[bisect_left(self.bounds, value)] += 1
        series.total += value

    def count(self, *labels: str) -> int:
        """How many values so far."""
        series = self._series.get(labels)
        return sum(series.counts) if series is not None else 0

    def family(self) -> Family:
        """As it is now."""
        return Family(self.name, self.help, "histogram", tuple(self._samples()))

    def _samples(self) -> Iterator[Sample]:
        for key, series in self._series.items():
            named, below = _named(self.labels, key), 0
            for bound, count in zip((*self.bounds, math.inf), series.counts, strict=True):
                below += count
                yield Sample("_bucket", {**named, "le": _number(bound)}, below)
            yield Sample("_sum", named, series.total)
            yield Sample("_count", named, below)


def gauge(name: str, help: str, value: float, **labels: str) -> Family:
    """A family of one figure that goes up and down."""
    return Family(name, help, "gauge", (Sample("", labels, value),))


def gauges(name: str, help: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    """A family of figures that go up and down, each with its labels."""
    return Family(name, help, "gauge", tuple(Sample("", labels, value) for labels, value in values))


def counter(name: str, help: str, value: float, **labels: str) -> Family:
    """A family of one figure that somebody else counts."""
    return Family(name, help, "counter", (Sample("", labels, value),))


def exposition(families: Iterable[Family]) -> str:
    """The text Prometheus reads."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += (_line(family.name, sample) for sample in family.samples)
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{label}="{_quoted(value)}"' for label, value in sample.labels.items())
    return (
        f"{name}{sample.suffix}{{{labels}}} {_number(sample.value)}"
        if labels
        else (f"{name}{sample.suffix} {_number(sample.value)}")
    )


def _named(names: tuple[str, ...], values: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(names, values, strict=True))


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
