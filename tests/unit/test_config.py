"""Configurations of the pipeline: typed, whole, and refused by the name of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis_pipeline.config import ConfigRejected, PipelineConfig, load_config, names
from tamis_pipeline.readers import READERS


@pytest.mark.parametrize("name", names())
def test_every_configuration_of_the_package_is_valid_and_its_format_known(name: str) -> None:
    assert load_config(name).dataset.kind in READERS


def test_the_default_file_says_what_the_defaults_are() -> None:
    assert load_config("default") == PipelineConfig()


@pytest.mark.parametrize("name", names())
def test_a_configuration_is_the_same_after_json(name: str) -> None:
    config = load_config(name)
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[retrieval.two_tower]\ndims = 3", r"retrieval\.two_tower\.dims: there is no such key"),
        ("[spilt]", r"spilt: there is no such key"),
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
