"""A Hugging Face CLIP gives the same vectors by torch and, once exported, by onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is an extra: make test-transformers")

from transformers import (  # noqa: E402
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

from tamis_pipeline.encoders.huggingface import HuggingFaceEncoder  # noqa: E402
from tamis_pipeline.encoders.port import EncoderRejected, open_encoder  # noqa: E402
from tamis_server.bundles.clip import CLIP_FILES, Clip  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")

START, END = "<|startoftext|>", "<|endoftext|>"
TEXTS = ["a red shoe", "shoe", "a dress " * 40, "unmet wordzz!"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIPModel of random weights with a processor, saved as any on the hub is."""
    directory = tmp_path_factory.mktemp("checkpoint")
    letters = "abcdefghijklmnopqrstuvwxyz!"
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "sh", "oe</w>", "shoe</w>"]
    numbers = {piece: number for number, piece in enumerate([*vocabulary, START, END])}
    (directory / "vocab.json").write_text(json.dumps(numbers))
    (directory / "merges.txt").write_text("#version: 0.2\ns h\no e</w>\nsh oe</w>\n")
    tokenizer = CLIPTokenizer(
        str(directory / "vocab.json"), str(directory / "merges.txt"), model_max_length=16
    )
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 4}  # fmt: skip
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config={
                **small, "vocab_size": len(numbers), "max_position_embeddings": 16,
                "bos_token_id": numbers[START], "eos_token_id": numbers[END],
                "pad_token_id": numbers[END],
            },
            vision_config={**small, "image_size": 24, "patch_size": 8},
            projection_dim=20,
        )
    )  # fmt: skip
    model.save_pretrained(directory)
    pictures = CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> HuggingFaceEncoder:
    opened = open_encoder(f"transformers:{checkpoint}")
    assert isinstance(opened, HuggingFaceEncoder)
    return opened


@pytest.fixture(scope="module")
def exported(encoder: HuggingFaceEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exported")
    encoder.export(directory)
    return directory


def test_both_routes_give_the_same_vectors(encoder: HuggingFaceEncoder, exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == set(CLIP_FILES)
    clip = Clip.load(exported)
    assert clip.dim == encoder.dim == 20
    np.testing.assert_allclose(clip.texts(TEXTS), encoder.texts(TEXTS), atol=1e-5)
    pictures = [Image.effect_noise(size, 80).convert("RGB") for size in ((40, 24), (24, 61))]
    found = encoder.images([encoder.pixels(picture) for picture in pictures])
    np.testing.assert_allclose(clip.images(pictures), found, atol=2e-3)


def test_the_features_are_those_of_the_model_itself(
    encoder: HuggingFaceEncoder, checkpoint: Path
) -> None:
    model, processor = (
        CLIPModel.from_pretrained(checkpoint),
        CLIPProcessor.from_pretrained(checkpoint),
    )
    given = processor(
        text=["a red shoe", "shoe"], images=[Image.new("RGB", (30, 30), "red")] * 2,
        return_tensors="pt", padding=True,
    )  # fmt: skip
    with torch.inference_mode():
        wanted = model(**given)
    np.testing.assert_allclose(
        encoder.texts(["a red shoe", "shoe"]), wanted.text_embeds.numpy(), atol=1e-5
    )
    pixels = [encoder.pixels(Image.new("RGB", (30, 30), "red"))] * 2
    np.testing.assert_allclose(encoder.images(pixels), wanted.image_embeds.numpy(), atol=1e-5)


def test_a_blank_text_has_no_direction(encoder: HuggingFaceEncoder, exported: Path) -> None:
    assert not encoder.texts([" "]).any()
    assert not Clip.load(exported).texts([" "]).any()


def test_a_checkpoint_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EncoderRejected, match="encoder transformers:/"):
        open_encoder(f"transformers:{tmp_path}")
