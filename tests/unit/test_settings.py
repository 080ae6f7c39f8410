"""Defaults < file < environment < command line; what can't be is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis_server.settings import SettingsError, load_settings


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
        ("TAMIS_SERVR__LISTEN", "x", "variable TAMIS_SERVR__LISTEN: no section servr"),
        ("TAMIS_SERVER__LISSTEN", "x", "setting server.lissten: no such setting"),
        ("TAMIS_RANKING__CANDIDATES", "many", "setting ranking.candidates: .*given: 'many'"),
        ("TAMIS_STATE__URL", "oracle://", "setting state.url: String should match"),
    ],
)
def test_a_bad_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()
