"""Published pairs by name: fastembed knows and fetches them, and here they get the one layout.

fastembed could run them, too, but not from that layout, nor the project's own: its image models
can't be added to (``add_custom_model`` is there for texts alone), and its towers need files of
their own (docs/decisions/0011). What it gives for the same weights is the same, and tested to be.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tamis_pipeline.encoders.port import DEFAULT_PAIR, DEMO_SHOP, EncoderRejected
from tamis_server.bundles.clip import CARD, TEXT, TOKENIZER, VISION, write_card
from tamis_server.bundles.directory import replacing
from tamis_server.bundles.pictures import PREPROCESSOR, Preprocessing

_TOKENIZER_CONFIG = "tokenizer_config.json"


def fetch(name: str, cache: Path | None = None) -> Path:
    """The directory of a pair ``name``-text and ``name``-vision, fetched unless it is there.

    cache: fastembed's own ($FASTEMBED_CACHE_PATH) where not given. Raises EncoderRejected.
    """
    from fastembed import ImageEmbedding, TextEmbedding  # noqa: PLC0415 slow to import
    from fastembed.common.utils import define_cache_dir  # noqa: PLC0415

    name = name or DEFAULT_PAIR
    texts = {model["model"]: model for model in TextEmbedding.list_supported_models()}
    images = {model["model"]: model for model in ImageEmbedding.list_supported_models()}
    text, vision = texts.get(f"{name}-text"), images.get(f"{name}-vision")
    if text is None or vision is None:
        known = sorted(
            found.removesuffix("-text")
            for found in texts
            if found.endswith("-text") and f"{found.removesuffix('-text')}-vision" in images
        )
        raise EncoderRejected(
            f"encoder onnx:{name}: neither a directory nor {DEMO_SHOP} nor a pair that fastembed "
            f"knows; there are {', '.join(known)}"
        )
    store = define_cache_dir(None if cache is None else str(cache))
    out = store / "tamis" / name.replace("/", "--")
    if not (out / CARD).is_file():
        try:
            # lazy: what is wanted is the directory, not a session
            opened: list[Any] = [
                TextEmbedding(text["model"], cache_dir=str(store), lazy_load=True),
                ImageEmbedding(vision["model"], cache_dir=str(store), lazy_load=True),
            ]
        except Exception as error:  # a hub out of reach shows as any of several libraries' errors
            reason = str(error).splitlines()[0]
            raise EncoderRejected(f"encoder onnx:{name}: could not be fetched: {reason}") from None
        sources = [Path(found.model._model_dir) for found in opened]
        with replacing(out) as directory:
            lay_out(
                sources[0] / text["model_file"],
                sources[1] / vision["model_file"],
                int(text["dim"]),
                directory,
            )
    return out


def lay_out(text: Path, vision: Path, dim: int, out: Path) -> None:
    """Copy two models, and what lies beside them, into the layout of ``bundles.clip``."""
    shutil.copyfile(text, out / TEXT)
    shutil.copyfile(vision, out / VISION)
    shutil.copyfile(vision.parent / PREPROCESSOR, out / PREPROCESSOR)
    config = json.loads((text.parent / _TOKENIZER_CONFIG).read_text("utf-8"))
    padded(Tokenizer.from_file(str(text.parent / TOKENIZER)), _content(config["pad_token"])).save(
        str(out / TOKENIZER)
    )
    write_card(
        out, dim, int(config["model_max_length"]), Preprocessing.load(out / PREPROCESSOR).edge
    )


def padded(tokenizer: Tokenizer, token: str) -> Tokenizer:
    """With the padding token named in the tokenizer itself."""
    if tokenizer.token_to_id(token) is None:
        tokenizer.add_special_tokens([token])
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(token), pad_token=token)
    return tokenizer


def _content(token: Any) -> str:
    # written as text or as the object of an AddedToken
    return token if isinstance(token, str) else str(token["content"])
