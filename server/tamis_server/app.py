"""The composition root: the only place that knows which adapter goes where."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import signal
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import grpc

import tamis_kernels
from tamis_server.adapters.embedded.catalogue import BundleCatalogue
from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.eligibility import AttributeEligibility
from tamis_server.adapters.embedded.encoder import PooledQueryEncoder
from tamis_server.adapters.embedded.features import ColumnFeatures
from tamis_server.adapters.embedded.filters import EligibleFilter, SeenFilter
from tamis_server.adapters.embedded.hnsw import NearestItems
from tamis_server.adapters.embedded.memory_state import BundleHistories, MemoryUserState
from tamis_server.adapters.embedded.merging import ReciprocalRankMerger
from tamis_server.adapters.embedded.reranking import MaximalMarginalRelevance
from tamis_server.adapters.embedded.sources import (
    AroundAnchors,
    AroundRecent,
    Personal,
    fresh,
    popular,
)
from tamis_server.bundles.loader import Bundle, load
from tamis_server.bundles.swapper import Swapper
from tamis_server.domain.candidates import DegradationLevel
from tamis_server.domain.context import Deadline, RequestContext
from tamis_server.domain.ports import UserStateStore
from tamis_server.domain.slate import StageTrace
from tamis_server.funnel.engine import BundleInfo, Engine
from tamis_server.funnel.funnel import Funnel, StageObserver, Step
from tamis_server.settings import Settings, SettingsError
from tamis_server.stages.filtering import Filtering
from tamis_server.stages.hydration import Hydration
from tamis_server.stages.preparation import EligibleItems, QueryEncoding, UserState
from tamis_server.stages.ranking import Ranking
from tamis_server.stages.reranking import Reranking
from tamis_server.stages.retrieval import Quota, Retrieval

log = logging.getLogger(__name__)
_INLINE_S = 1.0  # budget of stages that can't wait for anything: the deadline bounds them


class _Unobserved:
    """Until metrics are configured nobody watches the stages."""

    def observe(self, trace: StageTrace) -> None:
        return


def build_engine(
    bundle: Bundle, store: UserStateStore, settings: Settings, observer: StageObserver
) -> Engine:
    """Everything that answers requests from one bundle. Raises BundleRejected."""
    catalogue = BundleCatalogue(bundle)
    wanted = settings.retrieval
    max_k = max(wanted.personal, wanted.recent, wanted.related) * 4
    nearest = NearestItems(
        bundle, ef_search=wanted.ef_search, exact_below=wanted.exact_below, max_k=max_k
    )
    user_state = Step(UserState(store, catalogue), 0.05, DegradationLevel.POPULARITY)
    eligible = Step(EligibleItems(AttributeEligibility(bundle)), _INLINE_S)
    reranking = Step(
        Reranking(
            MaximalMarginalRelevance(
                bundle, trade_off=settings.reranking.trade_off, pool=settings.reranking.pool
            )
        ),
        _INLINE_S,
    )

    def retrieval(*quotas: Quota) -> Step[Retrieval]:
        return Step(Retrieval(quotas, ReciprocalRankMerger()), _INLINE_S)

    def filtering(*filters: EligibleFilter | SeenFilter) -> Step[Filtering]:
        return Step(Filtering(filters, settings.ranking.candidates), _INLINE_S)

    timeout = wanted.source_timeout_s
    recommend = Funnel(
        preparations=[
            user_state,
            eligible,
            Step(QueryEncoding(PooledQueryEncoder(bundle)), 0.05, DegradationLevel.POPULARITY),
        ],
        stages=[
            retrieval(
                Quota(Personal(nearest), wanted.personal, wanted.personal_weight, timeout),
                Quota(AroundRecent(nearest), wanted.recent, wanted.recent_weight, timeout),
                Quota(popular(bundle), wanted.popular, wanted.popular_weight, timeout),
                Quota(
                    fresh(bundle, wanted.fresh_days), wanted.fresh, wanted.fresh_weight, timeout
                ),
            ),
            filtering(EligibleFilter(), SeenFilter(catalogue)),
            Step(Hydration(ColumnFeatures(bundle)), _INLINE_S, DegradationLevel.RETRIEVAL_ORDER),
            Step(
                Ranking(NativeDeepFM(bundle)),
                settings.ranking.timeout_s,
                DegradationLevel.RETRIEVAL_ORDER,
            ),
            reranking,
        ],
        observer=observer,
    )
    related = Funnel(
        preparations=[user_state, eligible],
        stages=[
            retrieval(Quota(AroundAnchors(nearest), wanted.related, 1.0, timeout)),
            filtering(EligibleFilter()),
            reranking,
        ],
        observer=observer,
    )
    return Engine(_info(bundle), catalogue, recommend, related)


def _info(bundle: Bundle) -> BundleInfo:
    manifest = bundle.manifest
    return BundleInfo(
        bundle_id=manifest.bundle_id,
        name=manifest.name,
        as_of=manifest.as_of,
        items=manifest.items,
        users=manifest.users,
        dim=manifest.dim,
        pairing_id=manifest.pairing_id,
    )
