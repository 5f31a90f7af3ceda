from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from vmpool.telemetry import Metrics
from vmpool.telemetry.instruments import Counter, Histogram, exposition, gauge


def test_what_is_written_is_read_as_it_was_meant() -> None:
    hostile = 'a"b\\c\nd'
    counter = Counter("c_total", "What\nit \\ is.", "who")
    counter.add(hostile)
    counter.add(hostile, by=2)
    [family, other] = text_string_to_metric_families(
        exposition([counter.family(), gauge("g", "A gauge.", 0.1)])
    )
    [sample] = family.samples
    assert (sample.name, sample.labels, sample.value) == ("c_total", {"who": hostile}, 3)
    assert family.documentation == "What\nit \\ is."
    assert (other.type, other.samples[0].value) == ("gauge", 0.1)


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram("h", "A histogram.", bounds=(1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    [family] = text_string_to_metric_families(exposition([histogram.family()]))
    assert {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "h_bucket"} == {
        "1": 2,
        "2": 3,
        "+Inf": 4,
    }
    assert {sample.name: sample.value for sample in family.samples if "le" not in sample.labels} == {
        "h_sum": 6.0,
        "h_count": 4,
    }
    assert histogram.bounds[-1] < math.inf


def test_names_follow_the_field() -> None:
    """Counters end in `_total`, times are seconds, and everything is explained."""
    families = list(Metrics().families())
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.name.startswith("vmpool_")
        assert family.help.endswith(".")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name.endswith("_seconds") == (family.kind == "histogram")
