"""What answers requests: the funnels over the tables of a bundle, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from tamis_server.adapters.embedded.blending import SimilarityAndTaste
from tamis_server.adapters.embedded.content import ClipEncoder
from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.features import ColumnFeatures
from tamis_server.adapters.embedded.filters import EligibleFilter, SeenFilter
from tamis_server.adapters.embedded.item_tower import item_tower
from tamis_server.adapters.embedded.live_items import LiveItems, NearestWithLive
from tamis_server.adapters.embedded.merging import AsFound, ReciprocalRankMerger
from tamis_server.adapters.embedded.reranking import Diversity
from tamis_server.adapters.embedded.sources import (
    AroundAnchors,
    AroundRecent,
    OftenTogether,
    Personal,
    Sought,
)
from tamis_server.bundles.clip import Clip
from tamis_server.bundles.loader import Bundle, Content
from tamis_server.bundles.manifest import CLIP, CONTENT
from tamis_server.domain.candidates import DegradationLevel, Source
from tamis_server.domain.errors import BundleRejected, installing
from tamis_server.domain.ports import UserStateStore
from tamis_server.funnel.engine import BundleInfo, Engine, Measures, NoSearch, no_variant
from tamis_server.funnel.funnel import Funnel, StageObserver, Step
from tamis_server.protection.quality import QualityFactor
from tamis_server.rankers import deep_ranker, experiment
from tamis_server.settings import (
    RankingSettings,
    SearchSettings,
    Settings,
)
from tamis_server.stages.filtering import Filtering
from tamis_server.stages.hydration import Hydration
from tamis_server.stages.preparation import (
    EligibleItems,
    QueryEncoding,
    SearchEncoding,
    UserHistory,
    UserState,
)
from tamis_server.stages.ranking import Ranking
from tamis_server.stages.reranking import Reranking
from tamis_server.stages.retrieval import Quota, Retrieval
from tamis_server.tables import Tables

if TYPE_CHECKING:
    from tamis_server.adapters.remote.triton import TritonModel

log = logging.getLogger(__name__)
_STATE_S = 1.0  # the store has a time-out of its own
_GRACE_S = 0.005  # a model's own time-out says more than ours, so it comes first
_INLINE_S = 10.0  # budget of stages that can't wait for anything: the deadline bounds them


def build_engine(
    tables: Tables,
    store: UserStateStore,
    settings: Settings,
    observer: StageObserver,
    triton: Mapping[str, TritonModel] = MappingProxyType({}),
) -> Engine:
    """Everything that answers requests from one bundle, which may then change the tables. Raises
    BundleRejected.

    triton: models on their servers, by the URL of the settings.
    """
    bundle, catalogue, eligibility = tables.bundle, tables.catalogue, tables.eligibility
    wanted, ranker = settings.retrieval, tables.ranker
    encoder = _encoder(bundle.content, settings.search)
    user_history = Step(UserHistory(tables.histories, catalogue), _INLINE_S)
    user_state = Step(UserState(store, catalogue), _STATE_S, DegradationLevel.POPULARITY)
    eligible = Step(EligibleItems(eligibility), _INLINE_S)
    reranking = Step(
        Reranking(
            Diversity(
                bundle,
                method=settings.reranking.method,
                trade_off=settings.reranking.trade_off,
                pool=settings.reranking.pool,
            )
        ),
        _INLINE_S,
    )

    protection = settings.protection
    quality = QualityFactor(protection.target_s, floor=protection.least_quality)

    def retrieval(*quotas: Quota) -> Step[Retrieval]:
        return Step(Retrieval(quotas, ReciprocalRankMerger()), _INLINE_S)

    def filtering(*filters: EligibleFilter | SeenFilter) -> Step[Filtering]:
        return Step(Filtering(filters, settings.ranking.candidates, quality), _INLINE_S)

    timeout = wanted.source_timeout_s
    live = LiveItems(
        bundle,
        catalogue,
        tables.available,
        eligibility,
        tables.nearest,
        ranker,
        tables.popular,
        tables.fresh,
        tables.trending,
        tower=item_tower(bundle),
        space="" if isinstance(encoder, str) else encoder.space,
    )
    nearest = NearestWithLive(tables.nearest, lambda: live.rows)
    around_recent, around_anchors = [], []
    if tables.alike is not None:
        alike = NearestWithLive(tables.alike, lambda: live.content_rows)
        weight = wanted.content_weight
        recent = AroundRecent(alike, source=Source.CONTENT)
        around_recent.append(Quota(recent, wanted.content, weight, timeout))
        anchors = AroundAnchors(alike, source=Source.CONTENT)
        around_anchors.append(Quota(anchors, wanted.related, weight, timeout))
    query_encoding = QueryEncoding(tables.encoder)
    hydration = Step(Hydration(ColumnFeatures(bundle)), _INLINE_S, DegradationLevel.RETRIEVAL_ORDER)
    recommend = Funnel(
        preparations=[
            user_history,
            user_state,
            eligible,
            Step(query_encoding, 0.05, DegradationLevel.POPULARITY),
        ],
        stages=[
            retrieval(
                Quota(Personal(nearest), wanted.personal, wanted.personal_weight, timeout),
                Quota(AroundRecent(nearest), wanted.recent, wanted.recent_weight, timeout),
                Quota(
                    OftenTogether(bundle.neighbours),
                    wanted.together,
                    wanted.together_weight,
                    timeout,
                ),
                Quota(tables.popular, wanted.popular, wanted.popular_weight, timeout),
                Quota(tables.fresh, wanted.fresh, wanted.fresh_weight, timeout),
                Quota(tables.trending, wanted.trending, wanted.trending_weight, timeout),
                *around_recent,
            ),
            filtering(*tables.unmet),
            hydration,
            _ranking(bundle, triton, ranker, settings.ranking),
            reranking,
        ],
        observer=observer,
        quality=quality,
    )
    related = Funnel(
        # what was met may be shown again, but what was refused may not
        preparations=[
            user_history,
            user_state,
            Step(EligibleItems(eligibility, refused=False), _INLINE_S),
        ],
        stages=[
            retrieval(Quota(AroundAnchors(nearest), wanted.related, 1.0, timeout), *around_anchors),
            filtering(EligibleFilter()),
            reranking,
        ],
        observer=observer,
    )

    search: Funnel | NoSearch
    if isinstance(encoder, str):
        search = NoSearch(f"{encoder} (bundle {bundle.manifest.bundle_id})")
    else:
        search = Funnel(
            preparations=[
                Step(SearchEncoding(encoder), settings.search.timeout_s),
                user_history,
                Step(UserState(store, catalogue), _STATE_S, DegradationLevel.RETRIEVAL_ORDER),
                eligible,
                Step(query_encoding, 0.05, DegradationLevel.RETRIEVAL_ORDER),
            ],
            stages=[
                Step(
                    Retrieval(
                        [Quota(Sought(alike), settings.search.candidates, 1.0, timeout)], AsFound()
                    ),
                    _INLINE_S,
                ),
                filtering(EligibleFilter()),
                hydration,
                Step(
                    Ranking(SimilarityAndTaste(ranker, taste=settings.search.taste)),
                    settings.ranking.timeout_s,
                    DegradationLevel.RETRIEVAL_ORDER,
                ),
                reranking,
            ],
            observer=observer,
        )

    def measures() -> Measures:
        indices = {"vectors": tables.nearest}
        if tables.alike is not None:
            indices["content"] = tables.alike
        queries = {
            (name, way.value): float(tally.queries)
            for name, index in indices.items()
            for way, tally in index.tallies.items()
        }
        if isinstance(encoder, str):
            return Measures(queries, {}, quality.value)
        encoded = {"text": encoder.texts, "picture": encoder.pictures}
        return Measures(queries, encoded, quality.value)

    content = None if isinstance(encoder, str) else encoder
    running = experiment(settings.ranking)
    return Engine(
        _info(bundle),
        catalogue,
        recommend,
        related,
        search,
        live,
        content,
        measures,
        no_variant if running is None else running.variant,
    )


def _ranking(
    bundle: Bundle,
    triton: Mapping[str, TritonModel],
    light: NativeDeepFM,
    wanted: RankingSettings,
) -> Step[Ranking]:
    """By the model of the settings, else by the native one, else in the order of retrieval."""
    native = Step(Ranking(light), wanted.timeout_s, DegradationLevel.RETRIEVAL_ORDER)
    deep = deep_ranker(bundle, triton, light, wanted)
    if deep is None:
        return native
    return Step(
        Ranking(deep),
        wanted.timeout_s + _GRACE_S,
        DegradationLevel.LIGHT_RANKER,
        instead=replace(native, stage=Ranking(light, "light_ranking")),
        leaves_s=wanted.reserve_s,
    )


def _encoder(content: Content | None, wanted: SearchSettings) -> ClipEncoder | str:
    """What encodes queries and new items, or why nothing does. Raises BundleRejected."""
    if content is None:
        return "the bundle has no content vectors; docs/search.md says how to build one with them"
    if content.clip is None:
        return "the bundle has content vectors, but not the CLIP that could encode a query"
    try:
        clip = Clip.load(content.clip, threads=wanted.threads)
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed here: {installing('clip')}"
        log.warning("no search and no encoding of new items: %s", reason)
        return reason
    if clip.dim != content.spec.dim:
        raise BundleRejected(
            CLIP, f"its vectors are {clip.dim} wide, those of {CONTENT} {content.spec.dim}"
        )
    return ClipEncoder(clip, content.spec)


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
