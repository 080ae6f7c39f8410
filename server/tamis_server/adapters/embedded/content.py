"""Texts and pictures encoded by the towers of a bundle, off the event loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tamis_server.batching.batcher import MicroBatcher
from tamis_server.bundles.clip import Clip, fuse
from tamis_server.bundles.manifest import ContentSpec
from tamis_server.bundles.pictures import UnreadablePicture
from tamis_server.domain.candidates import Vectors
from tamis_server.domain.context import Depiction
from tamis_server.domain.errors import FieldViolation, InvalidRequest

Pixels = npt.NDArray[np.float32]
_AT_ONCE = 8  # of one caller: what others search for goes in between


class ClipEncoder:
    """Encodes as the items of the bundle were encoded: the same towers, the same fusion.

    A call takes milliseconds: it is made on a thread, with all that waits.
    """

    def __init__(self, clip: Clip, spec: ContentSpec) -> None:
        self._clip = clip
        self._spec = spec
        self._batcher: MicroBatcher[Sequence[Depiction], Vectors | InvalidRequest] = MicroBatcher(
            "clip", self._answers, max_batch=8, max_waiting=256
        )
        self.texts = 0
        self.pictures = 0

    @property
    def space(self) -> str:
        return self._clip.card.digest[:16]

    async def encode(self, depictions: Sequence[Depiction]) -> Vectors:
        """As the port says."""
        found = [np.zeros((0, self._clip.dim), np.float32)]
        for start in range(0, len(depictions), _AT_ONCE):
            answer = await self._batcher.submit(depictions[start : start + _AT_ONCE])
            if isinstance(answer, InvalidRequest):
                raise answer
            found.append(answer)
        return np.concatenate(found)

    def _answers(self, requests: Sequence[Sequence[Depiction]]) -> list[Vectors | InvalidRequest]:
        """One call of each tower for all; a picture that can't be read fails its request alone."""
        readable, refused = [], {}
        for position, request in enumerate(requests):
            try:
                readable.append([self._read(depiction) for depiction in request])
            except InvalidRequest as error:
                refused[position] = error
        vectors = self._vectors([each for request in readable for each in request])
        ends = np.cumsum([len(request) for request in readable])
        parts = iter(np.split(vectors, ends[:-1]) if readable else ())
        return [
            refused[position] if position in refused else next(parts)
            for position in range(len(requests))
        ]

    def _read(self, depiction: Depiction) -> tuple[str, Pixels | None]:
        """Its text, and what the tower sees of its picture. Raises InvalidRequest."""
        try:
            pixels = self._clip.pixels(depiction.picture) if depiction.picture else None
        except UnreadablePicture as error:
            raise InvalidRequest([FieldViolation(depiction.picture_field, str(error))]) from None
        return depiction.text.strip(), pixels

    def _vectors(self, read: Sequence[tuple[str, Pixels | None]]) -> Vectors:
        said = [position for position, (text, _) in enumerate(read) if text]
        shown = [position for position, (_, pixels) in enumerate(read) if pixels is not None]
        texts, images = np.zeros((2, len(read), self._clip.dim), np.float32)
        texts[said] = self._clip.texts([read[position][0] for position in said])
        images[shown] = self._clip.images([pixels for _, pixels in read if pixels is not None])
        has_image = np.zeros(len(read), np.bool_)
        has_image[shown] = True
        self.texts += len(said)
        self.pictures += len(shown)
        return fuse(texts, images, has_image, self._spec)
