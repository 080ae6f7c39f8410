"""Configurations of the pipeline: typed, whole, and refused by the name of what is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tamis_pipeline.cli import app
from tamis_pipeline.config import ConfigRejected, PipelineConfig, load_config, names
from tamis_pipeline.readers import READERS
from tamis_server.toml import document


@pytest.mark.parametrize("name", names())
def test_every_configuration_of_the_package_is_valid_and_its_format_known(name: str) -> None:
    assert load_config(name).dataset.kind in READERS


def test_the_default_file_says_what_the_defaults_are() -> None:
    assert load_config("default") == PipelineConfig()


@pytest.mark.parametrize("name", names())
def test_a_configuration_is_the_same_after_json(name: str) -> None:
    config = load_config(name)
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", names())
def test_a_configuration_that_is_printed_is_the_same_when_read(name: str, tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["config", "--config", name])
    assert printed.exit_code == 0, printed.output
    (tmp_path / "mine.toml").write_text(printed.stdout)
    assert load_config(str(tmp_path / "mine.toml")) == load_config(name)


def test_what_is_printed_has_every_key_and_can_be_edited(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    everything = PipelineConfig().model_dump()
    text = document(everything)
    assert "# content is not set" in text
    assert "\n# trade_off is not set\n" in text
    assert "\n[ranking.deepfm.training]\n" in text
    path.write_text(text.replace("# trade_off is not set", "trade_off = 1.0"))
    assert load_config(str(path)).evaluation.trade_off == 1.0


texts = st.text(st.characters(codec="utf-8"))
scalars = texts | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20
)


def tables_in_lists(value: object, inside: bool = False) -> bool:
    """Whether a table stands in a list that is not one of tables alone."""
    if isinstance(value, dict):
        return inside or any(map(tables_in_lists, value.values()))
    if isinstance(value, list):
        tables = all(isinstance(each, dict) for each in value)
        return any(tables_in_lists(each, inside or not tables) for each in value)
    return False


@given(st.dictionaries(texts, values).filter(lambda table: not tables_in_lists(table)))
def test_whatever_is_written_as_toml_is_the_same_when_read(table: dict[str, object]) -> None:
    assert tomllib.loads(document(table)) == table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[retrieval.two_tower]\ndims = 3",
            r"retrieval\.two_tower\.dims: there is no such key; there are batch, dim, epochs, ",
        ),
        ("[spilt]", r"spilt: there is no such key; there are content, dataset, .*, split$"),
        ("ranking.foo = 1", r"ranking\.foo: there is no such key; there are boosted, deepfm, exp"),
        ("content = {encoder = 'a', b = 1}", r"content\.b: .*; there are encoder, image_weight, "),
        (
            "[[ranking.objectives]]\nname = 'a'\nevents = ['view']\nweight = 1\nfoo = 1",
            r"ranking\.objectives\.0\.foo: .*; there are events, name, weight$",
        ),
        ("[index]\nlists = 1", r"index\.hnsw\.lists: .*; there are ef_construction, ef_search, "),
        ("[index]\nkind = 'ivf'\nm = 1\nlists = 1\nscanned = 9", r"index\.ivf\.m: .* kind, lists"),
        ("[index]\nkind = 'ivf'\nlists = 1", r"index\.ivf\.scanned: Field required"),
        ("[index]\nkind = 'ivf'\nlists = 1\nscanned = 9\nreach = -1", r"index\.ivf\.reach: "),
        ("[index]\nkind = 'flat'", r"index: Input tag 'flat' .* 'hnsw', 'ivf', 'auto'"),
        ("[split]\ntest = 1.5", r"split\.test: .*less than 1.*, not 1\.5"),
        (
            "[split]\nhow = 'random walk'",
            r"split\.how: .*'global', 'per-user', .*, not 'random walk'",
        ),
        (
            "[ranking.deepfm.training]\nepochs = 'many'",
            r"ranking\.deepfm\.training\.epochs: .*integer.*'many'",
        ),
        ("[ranking]\nmodels = ['boosted']", r"ranking\.models: .*deepfm must be among them"),
        ("seed 1", r"not TOML: .*line 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigRejected, match=rf"mine\.toml: {message}"):
        load_config(str(path))


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigRejected, match="one of default, "):
        load_config("defualt")
