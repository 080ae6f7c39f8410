"""Who gets which variant of an experiment."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis_server.policies.experiment import CONTROL, Experiment
from tamis_server.settings import SettingsError, load_settings

USERS = [f"user-{number}" for number in range(20_000)]


def test_each_variant_gets_about_its_share() -> None:
    experiment = Experiment("e", {"a": 0.1, "b": 0.25})
    counts = Counter(map(experiment.variant, USERS))
    assert counts["a"] == pytest.approx(2000, abs=200)
    assert counts["b"] == pytest.approx(5000, abs=300)
    assert counts[CONTROL] == pytest.approx(13_000, abs=400)


@given(user=st.text(min_size=1), small=st.floats(0, 0.5), more=st.floats(0, 0.5))
def test_a_share_that_grows_keeps_the_users_it_had(user: str, small: float, more: float) -> None:
    before = Experiment("e", {"a": small}).variant(user)
    after = Experiment("e", {"a": small + more}).variant(user)
    assert before in (CONTROL, after)


def test_two_experiments_divide_users_independently() -> None:
    one, two = Experiment("one", {"a": 0.5}), Experiment("two", {"a": 0.5})
    both = sum(one.variant(user) == two.variant(user) == "a" for user in USERS)
    assert both == pytest.approx(5000, abs=300)


def test_a_whole_share_leaves_nobody_and_an_unknown_user_is_control() -> None:
    experiment = Experiment("e", {"a": 0.5, "b": 0.5})
    assert CONTROL not in set(map(experiment.variant, USERS))
    assert experiment.variant("") == CONTROL


@pytest.mark.parametrize(
    ("variants", "reason"),
    [
        ([{"name": "a", "share": 0.6}, {"name": "b", "share": 0.6}], "their shares make 1.2"),
        ([{"name": "a", "share": 0.1}, {"name": "a", "share": 0.1}], "a name of its own"),
        ([{"name": "control", "share": 0.1}], "a name of its own"),
        ([{"name": "a", "share": 0}], "greater than 0"),
        ([{"name": "a", "share": 0.1, "url": "http://x"}], "url"),
        ([], "at least 1"),
    ],
)
def test_an_experiment_that_can_t_be_is_refused(variants: list[object], reason: str) -> None:
    experiment = {"name": "e", "variants": variants}
    with pytest.raises(SettingsError, match=reason):
        load_settings(None, {"ranking": {"experiment": experiment}})
