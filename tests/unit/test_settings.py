"""Defaults < file < environment < command line; what can't be is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis_server.fields import field_at, paths
from tamis_server.settings import Settings, SettingsError, assigned, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tamis.toml"
    path.write_text('[server]\nlisten = "0.0.0.0:1"\ndrain_s = 3\n\n[ranking]\ncandidates = 77\n')
    return path


def test_each_source_overrides_the_one_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_SERVER__DRAIN_S", "4")
    settings = load_settings(file, {"server": {"listen": "0.0.0.0:2"}})
    assert settings.server.listen == "0.0.0.0:2"
    assert settings.server.drain_s == 4
    assert settings.ranking.candidates == 77
    assert settings.retrieval.fresh == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[server]\nlissten = 1\n",
            "setting server.lissten: no such setting; there are access_log",
        ),
        ("[servr]\nlisten = 1\n", "setting servr: no such setting; there are bundle, catalogue"),
        ("[reranking]\ntrade_off = 2\n", "setting reranking.trade_off: Input should be less"),
        ("[events]\nlog_dir = ''\n", "setting events.log_dir: is empty; leave it out for no"),
        ("[events]\nlog_rotate_s = 0\n", "setting events.log_rotate_s: Input should be greater"),
        ("[server\n", "settings file"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_setting(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not found"):
        load_settings(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TAMIS_SERVR__LISTEN", "x", "variable .*: no .*; did you mean TAMIS_SERVER__LISTEN"),
        ("TAMIS_BUNDLE_PATH", "/x", "variable .*: no .*; did you mean TAMIS_BUNDLE__PATH"),
        ("TAMIS_LOG_LEVEL", "info", "did you mean TAMIS_LOG__LEVEL"),
        ("TAMIS_FOO", "x", "variable TAMIS_FOO: no .*TAMIS_SECTION__KEY, and sections are bundle"),
        ("tamis_foo", "x", "variable tamis_foo: no such setting"),
        ("TAMIS_PORT", "9464", "variable TAMIS_PORT: no such setting"),
        ("TAMIS_BUNDLE", "x", "variable TAMIS_BUNDLE: it is JSON .*one setting is TAMIS_BUNDLE__"),
        ("TAMIS_STATE__SEEN", "x", "variable TAMIS_STATE__SEEN: it is JSON"),
        ("TAMIS_SERVER__LISSTEN", "x", "setting server.lissten: no such setting"),
        ("TAMIS_RANKING__CANDIDATES", "many", "setting ranking.candidates: .*given: 'many'"),
    ],
)
def test_a_bad_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TAMIS_KERNELS", "avx2"),
        ("TAMIS_TEST_DATA", "/data"),
        ("TAMIS_PORT", "tcp://10.0.0.1:50051"),
        ("TAMIS_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("TAMIS_SERVICE_PORT_GRPC", "50051"),
        ("TAMIS_REDIS_SERVICE_HOST", "10.0.0.2"),
    ],
)
def test_variables_of_kernels_tests_and_kubernetes_services_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    load_settings()


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("state.url=oracle://", "state.url: it is lmdb://directory, redis://"),
        ("ranking.url=http://x", "ranking.url: it is the model that ranks: onnx://model"),
        ("metrics.listen=9464", "metrics.listen: it is host:port of /metrics"),
        ('state.seen=[{"name": "A", "kinds": ["view"]}]', "state.seen.0.name: it is up to 32 of"),
    ],
)
def test_a_value_of_another_form_is_told_by_what_the_setting_is(assignment: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, assigned([assignment]))
    assert says in str(caught.value)
    assert "(given: " in str(caught.value)
    assert "^" not in str(caught.value), "no regular expression"


def test_any_setting_can_be_assigned() -> None:
    settings = load_settings(
        None,
        assigned(
            [
                "ranking.candidates=77",
                "ranking.experiment.name=shapes",
                'ranking.experiment.variants=[{"name": "b", "share": 0.1}]',
                'ranking.objectives={"like": 1}',
                "ranking.objectives.view=0.5",
                "server.listen=[::]:50051",
            ]
        ),
    )
    assert settings.ranking.candidates == 77
    assert settings.ranking.experiment is not None
    assert settings.ranking.experiment.name == "shapes"
    assert settings.ranking.experiment.variants[0].share == 0.1
    assert settings.ranking.objectives == {"like": 1, "view": 0.5}
    assert settings.server.listen == "[::]:50051"


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        (["listen=1"], "'listen=1' is not section.key=value"),
        (["server.listen"], "'server.listen' is not section.key=value"),
        (["state.seen=met"], "setting state.seen: it is JSON"),
        (["ranking.url=", "ranking.url.x=1"], "'ranking.url.x=1': url has a value"),
        (["ranking.experiment.nam=x"], "no such setting; there are name, variants"),
        (
            ['state.seen=[{"nam": "x"}]'],
            "setting state.seen.0.nam: no such setting; there are exact",
        ),
    ],
)
def test_what_can_not_be_assigned_is_refused(assignments: list[str], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, assigned(assignments))
    assert says in str(caught.value)


def test_every_setting_says_what_it_is() -> None:
    for path in paths(Settings):
        field = field_at(Settings, path)
        assert field is not None
        assert len(path) == 1 or field.description, ".".join(path)
