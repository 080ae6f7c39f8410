"""Pages of several processes made one."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tamis_server.observability.exposition import merged

ONE = """# HELP tamis_answers_total given
# TYPE tamis_answers_total counter
tamis_answers_total{code="OK"} 3.0
# HELP tamis_age_seconds of it
# TYPE tamis_age_seconds histogram
tamis_age_seconds_bucket{le="1"} 1.0
tamis_age_seconds_bucket{le="+Inf"} 2.0
tamis_age_seconds_count 2.0
tamis_age_seconds_sum 4.5
"""
TWO = """# HELP tamis_answers_total given
# TYPE tamis_answers_total counter
tamis_answers_total{code="OK"} 4.0
# HELP tamis_queue waiting
# TYPE tamis_queue gauge
tamis_queue 7.0
"""


def test_every_sample_says_whose_it_is_and_stands_with_its_metric() -> None:
    page = merged({"1": ONE, "2": TWO}, "worker")
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert set(families) == {"tamis_answers", "tamis_age_seconds", "tamis_queue"}
    answers = [(each.labels, each.value) for each in families["tamis_answers"].samples]
    assert answers == [({"worker": "1", "code": "OK"}, 3.0), ({"worker": "2", "code": "OK"}, 4.0)]
    assert [each.labels for each in families["tamis_queue"].samples] == [{"worker": "2"}]
    assert {each.name for each in families["tamis_age_seconds"].samples} == {
        "tamis_age_seconds_bucket", "tamis_age_seconds_count", "tamis_age_seconds_sum",
    }  # fmt: skip
    assert page.count("# TYPE tamis_answers_total") == 1


def test_no_pages_make_an_empty_one() -> None:
    assert merged({}, "worker") == "\n"
