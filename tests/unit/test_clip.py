"""The towers of CLIP: unit vectors, the same alone and in company; pictures of any kind; fusing."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from support.clips import IMAGE_SIZE, write_random_clip
from tamis_server.bundles.clip import (
    CARD,
    CLIP_FILES,
    TEXT,
    TOKENIZER,
    VISION,
    Clip,
    document,
    fuse,
    normalised,
    read_card,
)
from tamis_server.bundles.manifest import ContentSpec
from tamis_server.bundles.pictures import Preprocessing, UnreadablePicture, decode
from tamis_server.domain.errors import BundleRejected

SPEC = ContentSpec(
    encoder="onnx:test", dim=3, text_weight=2, image_weight=1, image_size=8, max_tokens=6
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(directory: Path) -> Clip:
    return Clip.load(directory)


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def test_texts_and_pictures_become_unit_vectors_of_one_width(clip: Clip) -> None:
    texts = clip.texts(["red shoe", "winter"])
    images = clip.images([encoded(Image.new("RGB", (30, 20), "red")), Image.new("RGB", (5, 5))])
    assert texts.shape == images.shape == (2, clip.dim)
    assert texts.dtype == images.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-6)


def test_a_text_is_the_same_alone_and_beside_longer_ones(clip: Clip) -> None:
    alone = clip.texts(["red"])
    beside = clip.texts(["summer dress a b c", "red"])[1:]
    np.testing.assert_allclose(alone, beside, atol=1e-6)


def test_texts_are_cut_at_the_most_tokens(clip: Clip) -> None:
    words = "red blue green shoe shirt dress"
    np.testing.assert_array_equal(clip.texts([words]), clip.texts([words + " winter winter"]))


def test_nothing_to_encode_is_no_rows_and_an_empty_text_a_zero_row(clip: Clip) -> None:
    assert clip.texts([]).shape == clip.images([]).shape == (0, clip.dim)
    assert not clip.texts([""]).any()


@pytest.mark.parametrize("name", CLIP_FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_random_clip(tmp_path) / name).unlink()
    with pytest.raises(BundleRejected, match=name):
        Clip.load(tmp_path)


@pytest.mark.parametrize("name", [TEXT, VISION, TOKENIZER])
def test_a_changed_file_is_refused_by_its_digest(tmp_path: Path, name: str) -> None:
    path = write_random_clip(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BundleRejected, match=f"{name}: .*SHA-256 differs"):
        Clip.load(tmp_path)


def test_towers_of_another_width_than_the_card_says_are_refused(tmp_path: Path) -> None:
    card = json.loads((write_random_clip(tmp_path) / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps({**card, "dim": 99}))
    with pytest.raises(BundleRejected, match=r"text\.onnx: gives \[1, 16\], not \[n, 99\]"):
        Clip.load(tmp_path).texts(["red"])


def test_a_provider_that_is_not_there_is_refused_with_those_that_are(directory: Path) -> None:
    with pytest.raises(BundleRejected, match=r"NoExecutionProvider is not.*CPUExecution"):
        Clip.load(directory, providers=["NoExecutionProvider"])


def test_the_digest_tells_towers_apart(tmp_path: Path) -> None:
    one, two = write_random_clip(tmp_path / "a"), write_random_clip(tmp_path / "b", seed=1)
    again = write_random_clip(tmp_path / "c")
    assert read_card(one).digest == read_card(again).digest != read_card(two).digest


def test_importing_the_module_imports_no_library_of_the_extra() -> None:
    code = (
        "import sys, tamis_server.bundles.clip; "
        "print([n for n in ('onnxruntime', 'tokenizers', 'PIL', 'fastembed') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16", "1"])
def test_pictures_of_any_mode_are_read_as_rgb(mode: str) -> None:
    picture = Image.new("L", (12, 9), 120).convert("L" if mode == "LA" else mode)
    picture = picture.convert("LA") if mode == "LA" else picture
    found = decode(encoded(picture, "TIFF"))
    assert (found.mode, found.size) == ("RGB", (12, 9))


def test_transparency_is_seen_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decode(encoded(clear)).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a picture"),
        (b"GIF89a", "damaged|not a picture"),
        (b"<html>", "not a picture"),
        (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:400], "damaged"),
        (encoded(Image.new("1", (9000, 9000))), "9000 x 9000 pixels: at most"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadablePicture, match=reason):
        decode(data)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_picture_or_refused(data: bytes) -> None:
    with suppress(UnreadablePicture):
        assert decode(b"\x89PNG\r\n\x1a\n" + data).mode == "RGB"


def test_shortest_edge_and_crop_keep_the_middle_of_a_wide_picture() -> None:
    preprocess = Preprocessing.parse(
        {
            "size": {"shortest_edge": 8},
            "crop_size": 8,
            "image_mean": [0, 0, 0],
            "image_std": [1, 1, 1],
            "resample": 0,
        }
    )
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste("white", (10, 0, 20, 10))
    found = preprocess(wide)
    assert found.shape == (3, 8, 8)
    assert found.mean() > 0.9


def test_what_preprocessing_does_not_know_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text('{"image_processor_type": "SiglipImageProcessor"}')
    with pytest.raises(BundleRejected, match="SiglipImageProcessor is not known"):
        Preprocessing.load(path)
    path.write_text('{"do_resize": false, "do_center_crop": false}')
    with pytest.raises(BundleRejected, match="image_mean"):
        Preprocessing.load(path)


def test_pictures_are_seen_at_the_size_of_the_tower(directory: Path) -> None:
    assert read_card(directory).image_size == IMAGE_SIZE


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [("Boots", "Warm.", "Boots. Warm."), ("", " x ", "x"), (" ", "", ""), ("Boots", "", "Boots")],
)
def test_the_document_of_an_item_leaves_out_what_is_empty(
    title: str, text: str, expected: str
) -> None:
    assert document(title, text) == expected


def rows(values: list[list[float]]) -> np.ndarray:
    return np.array(values, np.float32)


def test_fusing_weighs_both_and_takes_what_is_there() -> None:
    texts = rows([[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    images = rows([[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]])
    has_image = np.array([True, False, True, False])
    found = fuse(texts, images, has_image, SPEC)
    expected = rows([[2 / 5**0.5, 1 / 5**0.5, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


vectors = hnp.arrays(np.float32, (4, 3), elements=st.floats(-1, 1, width=32))


@settings(deadline=None)
@given(vectors, vectors, hnp.arrays(np.bool_, 4))
def test_what_is_fused_is_a_unit_vector_or_nothing(
    texts: np.ndarray, images: np.ndarray, has_image: np.ndarray
) -> None:
    found = fuse(normalised(texts), normalised(images), has_image, SPEC)
    length = np.linalg.norm(found, axis=1)
    assert (np.isclose(length, 1, atol=1e-5) | (length == 0)).all()


def test_weights_that_are_both_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="both 0"):
        ContentSpec.model_validate({**SPEC.model_dump(), "text_weight": 0, "image_weight": 0})
