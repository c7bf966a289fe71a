"""A number of a run is said once: the words and the table come from the same call."""

import pytest

from specrec.pipeline.run import StageReport
from specrec.pipeline.run_metrics import RUN_METRICS


def test_a_number_is_recorded_and_said():
    report = StageReport()
    report.parts(["hybrid"], {"hybrid": 240}, ["features", "hybrid"])
    report.count("lists_not_full", 3, "hybrid")
    report.count("decoded", 5)
    report.count("decoded", 4)  # it is the last that holds
    report.count_each("unread_values", {"explicit": 3, "year": 2})
    report.count_each("left_out", {})
    assert report.details == {
        "features": "unchanged",
        "hybrid": "240 rows, 3 lists not full",
        "decoded": "4",
        "unread_values": "3 explicit, 2 year",
    }
    assert report.numbers == {
        ("rows", "hybrid"): 240,
        ("lists_not_full", "hybrid"): 3,
        ("decoded", ""): 4,
        ("unread_values", "explicit"): 3,
        ("unread_values", "year"): 2,
    }


def test_a_number_that_is_not_declared_is_refused():
    with pytest.raises(ValueError, match="'unheard_of' is not declared"):
        StageReport().count("unheard_of", 1)


@pytest.mark.parametrize("name", RUN_METRICS)
def test_each_metric_has_a_meaning_of_one_sentence_and_words(name):
    metric = RUN_METRICS[name]
    assert metric.meaning.endswith(".")
    assert "1" in metric.words.format(value=1, part="part")
