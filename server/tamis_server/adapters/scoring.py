"""A ranking model behind the port Ranker, wherever it runs: many users' candidates in one run.

Requests wait only while as many runs are under way as may be; the next takes all that wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tamis_server.adapters.ranking_inputs import Inputs, RankingInputs, joined
from tamis_server.batching.batcher import Batcher
from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.ranking_contract import (
    BY_ROW,
    PAIRING,
    PROBABILITIES,
    pairing_number,
)
from tamis_server.domain.candidates import Candidates, Scores
from tamis_server.domain.context import Deadline, RequestContext
from tamis_server.domain.errors import ContractViolation, DependencyFailed, Overloaded
from tamis_server.domain.ports import Ranker
from tamis_server.domain.scoring import Outputs, ScoringModel, Signature


@dataclass(frozen=True, slots=True)
class _Asked:
    inputs: Inputs
    count: int
    deadline: Deadline


class ModelRanker:
    """Scores by a model; items that came after its bundle it may not know: then by ``light``."""

    def __init__(
        self,
        bundle: Bundle,
        model: ScoringModel,
        light: Ranker,
        *,
        shares: npt.NDArray[np.float32],
        log_popularity: npt.NDArray[np.float32],
        timeout_s: float,
        at_once: int,
        users: int,
    ) -> None:
        """shares float32[objectives]: weights of the probabilities in the score, of sum 1.

        at_once: runs under way; users: at most in one run.
        """
        self._bundle = bundle
        self._model = model
        self._light = light
        self._shares = shares
        self._log_popularity = log_popularity
        self._timeout_s = timeout_s
        self._pairing = pairing_number(bundle.manifest.pairing_id)
        self._reads: tuple[Signature, RankingInputs] | None = None
        self._batcher: Batcher[_Asked, npt.NDArray[np.float32]] = Batcher(
            model.name, self._run, workers=at_once, max_batch=users
        )

    async def score(self, ctx: RequestContext, candidates: Candidates) -> Scores:
        """Raises DependencyFailed."""
        deadline = Deadline(min(ctx.deadline.at, Deadline.after(self._timeout_s).at))
        inputs = await self._inputs(deadline)
        asked = _Asked(inputs.of(ctx, candidates), len(candidates), deadline)
        try:
            probabilities = await self._batcher.submit(asked)
        except Overloaded as error:
            raise DependencyFailed(self._model.name, str(error)) from None
        scores: Scores = probabilities @ self._shares
        if inputs.by_row:
            new = np.flatnonzero(candidates.rows >= self._bundle.manifest.items)
            if new.shape[0]:
                scores[new] = await self._light.score(ctx, candidates.take(new.astype(np.int32)))
        return scores

    async def _inputs(self, deadline: Deadline) -> RankingInputs:
        signature = await self._model.signature(deadline)
        if self._reads is None or self._reads[0] is not signature:
            try:
                inputs = RankingInputs(
                    self._bundle, tuple(signature.inputs), signature.history, self._log_popularity
                )
            except ContractViolation as error:  # the model's fault: it is a guest here
                raise DependencyFailed(self._model.name, str(error)) from None
            self._reads = (signature, inputs)
        return self._reads[1]

    async def _run(self, asked: Sequence[_Asked]) -> Sequence[npt.NDArray[np.float32]]:
        """probabilities float32[c, objectives] for each."""
        if any(each.inputs.keys() != asked[0].inputs.keys() for each in asked):
            raise DependencyFailed(self._model.name, "another model has taken its place")
        inputs = joined([each.inputs for each in asked])
        counts = [each.count for each in asked]
        last = Deadline(max(each.deadline.at for each in asked))
        by_row = bool(BY_ROW & set(inputs))

        def check(outputs: Outputs) -> None:
            self._check(outputs, counts, by_row)

        outputs = await self._model.run(inputs, last, check)
        found = outputs[PROBABILITIES]
        return [found[position, :count] for position, count in enumerate(counts)]

    def _check(self, outputs: Outputs, counts: Sequence[int], by_row: bool) -> None:
        found, name = outputs.get(PROBABILITIES), self._model.name
        if found is None:
            raise DependencyFailed(name, f"gave no {PROBABILITIES}")
        wanted = (len(counts), max(counts), self._shares.shape[0])
        shape = found.shape
        fits = len(shape) == 3 and (shape[0], shape[2]) == (wanted[0], wanted[2])
        if not fits or shape[1] < wanted[1] or found.dtype != np.float32:
            raise DependencyFailed(name, f"gave {found.dtype}{shape} where float32{wanted} fits")
        bad = sum(
            int(np.count_nonzero(~np.isfinite(found[position, :count])))
            for position, count in enumerate(counts)
        )
        if bad:
            raise DependencyFailed(name, f"gave {bad} probabilities that are not finite")
        if by_row:
            pairing = outputs.get(PAIRING)
            if pairing is None or not np.all(pairing == self._pairing):
                raise DependencyFailed(name, "was made with another bundle")
