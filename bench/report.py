"""Results as JSON, and `docs/benchmarks.md` made from that JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.bars import BARS, Verdict
from bench.figures import Figures, Results
from bench.run import Run

Document = dict[str, Any]
TIMES = {
    "execute": "Execute `print(1+1)` in a sandbox that stands ready, in turns of ten calls",
    "nodejs": "Execute `console.log(1+1)` with Node.js, with pauses of 0.3 s",
    "cell": "Run the cell `x + 1` in a kernel that stands ready, in turns of ten",
    "first_byte": "Until the first output of a program that goes on running",
    "upload": "A file of 256 MiB into a sandbox",
    "download": "The same file out of it",
    "install": "`pip install requests` in a VM of its own, once a first has",
    "snapshot": "A snapshot of a VM with 1 GB unchanged and 1 MB changed",
    "snapshot_small": "A snapshot of a VM with 1 MB alone",
    "fork": "Ten copies of a VM at once, all answered",
    "fork_plain": "Ten plain VMs at once, all answered",
    "create": "From nothing to the first output",
    "warm_start": "From nothing to the first output, made beforehand",
    "removal": "Stop and delete, each in its own way",
    "stop": "Stop",
    "delete": "Delete what is stopped",
}


_INTRODUCTION = """\
# Benchmarks

Written by `make bench`: every contender in one run, interleaved, on one machine. Read the ratios; the
absolute times are this machine's."""
_PROMISES = """\
## Promised ratios

vmpool is called through its REST API over raw keep-alive connections, with the row of every execution
written; its SDK stands beside it. MB are 10⁶ bytes of PSS."""
_CLIENT = """\
Milliseconds each. The client's share is that of one core which the load generator took from what it
measured; the processes of a command are not in it."""


def document(run: Run, machine: Mapping[str, str]) -> Document:
    """All of a run that is kept."""
    return {
        "machine": dict(machine),
        "contenders": {
            contender.name: {"version": contender.version, "mode": contender.mode}
            for contender in (*run.contenders, *run.contenders_seen)
        },
        "absent": run.absent,
        "results": _in_order(run),
        "troubles": run.troubles,
        "bars": [
            {"what": verdict.bar.what, "limit": verdict.bar.limit, "value": verdict.value, "met": verdict.met}
            for verdict in (bar.judge(run.results) for bar in BARS)
        ],
    }


def _in_order(run: Run) -> dict[str, dict[str, Figures]]:
    """Every scenario's contenders in the order in which they were made."""
    order = {contender.name: number for number, contender in enumerate(run.contenders)}
    return {
        scenario: dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))
        for scenario, found in run.results.items()
    }


def write_json(path: Path, run: Document) -> None:
    """Rounded to a microsecond: more digits say nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(run), indent=1, ensure_ascii=False) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def bars_table(results: Results) -> str:
    """Every promised ratio with what this run says of it."""
    return _table(
        ("", "bar", "measured", "", "goal"),
        [_bar_row(verdict) for verdict in (bar.judge(results) for bar in BARS)],
    )


def _bar_row(verdict: Verdict) -> tuple[str, ...]:
    bar = verdict.bar
    sign = "≥" if bar.at_least else "≤"
    return (
        bar.what,
        f"{sign} {bar.limit:g}",
        "-" if verdict.value is None else f"{verdict.value:.3g}",
        {True: "met", False: "**missed**", None: "not measured"}[verdict.met],
        "" if bar.goal is None else f"{sign} {bar.goal:g}",
    )


def page(run: Document, pictures: Sequence[tuple[str, str]]) -> str:
    """`docs/benchmarks.md`.  pictures: title and path of each plot, relative to the page."""
    results: Results = run["results"]
    parts = [
        _INTRODUCTION,
        _table(("", ""), list(run["machine"].items()), text=True),
        _PROMISES,
        bars_table(results),
    ]
    parts += [f"![{title}]({path})" for title, path in pictures]
    parts += list(_sections(results))
    parts += _people(run)
    return "\n\n".join(parts) + "\n"


def _sections(results: Results) -> Iterable[str]:
    for scenario, title in TIMES.items():
        if scenario in results:
            yield f"## {title}\n\nMilliseconds."
            yield _times(results[scenario])
    yield from _loads(results)
    for prefix, title, word in (
        ("burst_", "So many creates at once, all answered", "creates"),
        ("batch_", "One batch over many VMs", "VMs"),
    ):
        for scenario in _numbered(results, prefix):
            yield f"## {title}: {scenario.removeprefix(prefix)} {word}\n\nMilliseconds."
            yield _times(results[scenario])
    if "hundred" in results:
        rows = [
            (name, f"{figures['n']:.0f}", _number(figures.get("wall"), 1, 2), f"{figures['failures']:.0f}")
            for name, figures in results["hundred"].items()
        ]
        yield "## A hundred from nothing, all answered once\n\nSeconds."
        yield _table(("", "how many", "wall", "failures"), rows)
    if "output" in results:
        rows = [
            (
                name,
                _number(figures.get("p50"), 1, 2),
                _number(figures.get("bytes"), 1e-6, 1),
                f"{figures['failures']:.0f}",
            )
            for name, figures in results["output"].items()
        ]
        yield "## A program that prints 100 MB\n\nSeconds until the answer, and the MB in it."
        yield _table(("", "seconds", "MB", "failures"), rows)
    yield from _memory(results)


def _times(contenders: Mapping[str, Figures]) -> str:
    further = [
        (name, head, factor)
        for name, head, factor in (("wall", "wall, s", 1.0), ("first", "first item", 1000.0))
        if any(name in figures for figures in contenders.values())
    ]
    heads = ("", "p50", "p95", "p99", "min", "rounds", "failures", *(head for _, head, _ in further))
    rows = []
    for name, figures in contenders.items():
        cells = [_number(figures.get(quantile), 1000, 2) for quantile in ("p50", "p95", "p99", "min")]
        rows.append(
            (
                name,
                *cells,
                f"{figures['n']:.0f}",
                f"{figures['failures']:.0f}",
                *(_number(figures.get(column), factor, 2) for column, _, factor in further),
            )
        )
    return _table(heads, rows)


def _loads(results: Results) -> Iterable[str]:
    for scenario in _numbered(results, "throughput_"):
        in_flight = scenario.removeprefix("throughput_")
        yield f"## Sustained throughput, {in_flight} in flight\n\n{_CLIENT}"
        rows = [
            (
                name,
                _number(figures.get("per_second"), 1, 1),
                *(_number(figures.get(quantile), 1000, 2) for quantile in ("p50", "p95", "p99")),
                _number(figures.get("seconds"), 1, 0),
                f"{figures['failures']:.0f}",
                _number(figures.get("client_cpu"), 100, 0),
            )
            for name, figures in results[scenario].items()
        ]
        yield _table(("", "a second", "p50", "p95", "p99", "seconds", "failures", "client, %"), rows)


def _memory(results: Results) -> Iterable[str]:
    scenarios = list(_numbered(results, "memory_"))
    if not scenarios:
        return
    rows = []
    for scenario in scenarios:
        for name, figures in results[scenario].items():
            row = [name, scenario.removeprefix("memory_")]
            for phase in ("unused", "used", "idle"):
                row.append(_number(figures.get(phase), 1e-6, 2))
                row.append(_number(figures.get(f"{phase}_server"), 1e-6, 2))
            row.append(_number(figures.get("used_processes"), 1, 1))
            row.append(_number(figures.get("unused_shim"), 1e-6, 2))
            row.append(f"{figures['failures']:.0f}")
            rows.append(tuple(row))
    yield (
        "## Memory a VM\n\nMB of PSS of all its processes and its share of the server's growth (which stands "
        "beside it as well); docker's shim apart."
    )
    heads = (
        "", "VMs", "before first use", "server", "after an execution", "server", "after the idle policy",
        "server", "processes when warm", "shim", "failures",
    )  # fmt: skip
    yield _table(heads, rows)


def _people(run: Document) -> list[str]:
    parts = ["## Contenders"]
    rows = [(name, known["version"], known["mode"]) for name, known in run["contenders"].items()]
    parts.append(_table(("", "version", "how it is driven"), rows, text=True))
    if run["absent"]:
        parts.append(
            "Absent:\n\n" + "\n".join(f"- {name}: {reason}" for name, reason in run["absent"].items())
        )
    if run["troubles"]:
        lines = [
            f"- {scenario}, {name}: `{_one_line(text)}`"
            for scenario, troubled in run["troubles"].items()
            for name, texts in troubled.items()
            for text in texts
        ]
        parts.append("## What failed\n\nThe first of each.\n\n" + "\n".join(lines))
    return parts


def _numbered(results: Results, prefix: str) -> list[str]:
    found = [scenario for scenario in results if scenario.startswith(prefix)]
    return sorted(found, key=lambda scenario: int(scenario.removeprefix(prefix)))


def _number(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def _one_line(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False) -> str:
    """Markdown: the first column of text, the others of numbers unless `text`."""
    lines = ["| " + " | ".join(heads) + " |", "|---|" + ("---|" if text else "---:|") * (len(heads) - 1)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
