"""Route ``transformers``: any CLIPModel of Hugging Face's, run by torch (extra ``clip-torch``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from tokenizers import Tokenizer
from transformers import CLIPModel, CLIPProcessor

from tamis_pipeline.encoders.port import EncoderRejected, Float32
from tamis_server.bundles.clip import TEXT, TOKENIZER, VISION, normalised, write_card
from tamis_server.bundles.pictures import PREPROCESSOR

_OPSET = 18


class HuggingFaceEncoder:
    """A checkpoint by name or directory, on the first GPU where there is one."""

    def __init__(self, name: str) -> None:
        """Raises EncoderRejected."""
        try:
            self._model = CLIPModel.from_pretrained(name).eval()
            self._processor = CLIPProcessor.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise EncoderRejected(f"encoder transformers:{name}: {reason}") from None
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model.to(self._device)

    @property
    def dim(self) -> int:
        return int(self._model.config.projection_dim)

    @property
    def digest(self) -> str:
        found = hashlib.sha256(self._model.config.to_json_string().encode())
        found.update(self._processor.to_json_string().encode())
        found.update(self._processor.tokenizer.backend_tokenizer.to_str().encode())
        for name, weights in sorted(self._model.state_dict().items()):
            found.update(name.encode())
            found.update(weights.detach().cpu().numpy().tobytes())
        return found.hexdigest()

    @property
    def image_size(self) -> int:
        return int(self._model.config.vision_config.image_size)

    @property
    def max_tokens(self) -> int:
        return int(self._model.config.text_config.max_position_embeddings)

    def texts(self, texts: Sequence[str]) -> Float32:
        given = self._processor.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        found = self._run(_Texts(self._model), given["input_ids"], given["attention_mask"])
        found[[not text.strip() for text in texts]] = 0.0
        return found

    def pixels(self, picture: Image) -> Float32:
        given = self._processor.image_processor([picture], return_tensors="np")
        return np.asarray(given["pixel_values"][0], np.float32)

    def images(self, pixels: Sequence[Float32]) -> Float32:
        return self._run(_Images(self._model), torch.from_numpy(np.stack(pixels)))

    def export(self, directory: Path) -> None:
        ids = torch.zeros((2, 8), dtype=torch.int64)
        mask = torch.ones((2, 8), dtype=torch.int64)
        pixels = torch.zeros((2, 3, self.image_size, self.image_size))
        _write(_Texts(self._model), (ids, mask), ("input_ids", "attention_mask"), directory / TEXT)
        _write(_Images(self._model), (pixels,), ("pixel_values",), directory / VISION)
        tokenizer = self._processor.tokenizer
        plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        plain.no_truncation()
        plain.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
        plain.save(str(directory / TOKENIZER))
        preprocessing = self._processor.image_processor.to_dict()
        (directory / PREPROCESSOR).write_text(json.dumps(preprocessing, indent=2, default=str))
        write_card(directory, self.dim, self.max_tokens, self.image_size)

    def _run(self, tower: Any, *given: Any) -> Float32:
        with torch.inference_mode():
            found = tower(*(values.to(self._device) for values in given))
        return normalised(np.asarray(found.float().cpu().numpy(), np.float32))


class _Texts(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.text_model, model.text_projection

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        pooled = self.tower(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        return self.projection(pooled)


class _Images(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.vision_model, model.visual_projection

    def forward(self, pixel_values: Any) -> Any:
        return self.projection(self.tower(pixel_values=pixel_values).pooler_output)


def _write(tower: Any, given: tuple[Any, ...], names: tuple[str, ...], path: Path) -> None:
    free = {0: "n"} if names == ("pixel_values",) else {0: "n", 1: "length"}
    torch.onnx.export(
        tower.cpu().eval(),
        given,
        str(path),
        input_names=list(names),
        output_names=["embeds"],
        dynamic_axes={**dict.fromkeys(names, free), "embeds": {0: "n"}},
        opset_version=_OPSET,
        dynamo=False,
    )
