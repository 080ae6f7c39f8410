"""What is made of a bundle alone: the same in every process that serves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis_kernels import HnswGraph, IvfIndex
from tamis_server.adapters.embedded.availability import AvailableRows
from tamis_server.adapters.embedded.catalogue import BundleCatalogue
from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.eligibility import AttributeEligibility
from tamis_server.adapters.embedded.encoder import AttentiveQueryEncoder
from tamis_server.adapters.embedded.filters import EligibleFilter, SeenFilter
from tamis_server.adapters.embedded.histories import BundleHistories
from tamis_server.adapters.embedded.hnsw import GraphSearcher
from tamis_server.adapters.embedded.ivf import ListSearcher
from tamis_server.adapters.embedded.nearest import NearestItems, Searcher
from tamis_server.adapters.embedded.sources import Ordered, fresh, popular, trending
from tamis_server.bundles.loader import Bundle, Index, load
from tamis_server.bundles.manifest import HnswSpec, IndexSpec, IvfSpec
from tamis_server.bundles.memory import give_back, returned_at_once
from tamis_server.domain.candidates import Bits, Vectors
from tamis_server.domain.errors import BundleRejected, ContractViolation
from tamis_server.segment import read
from tamis_server.settings import RetrievalSettings, Settings
from tamis_server.stores import seen_policy


@dataclass(frozen=True, slots=True)
class Tables:
    """A bundle and all that it takes time and memory to make of it, by the settings.

    Made before workers are forked, or in a segment, so that they share it; each changes pages of
    its own.
    nearest: over the item tower's vectors; alike: over what items look and read like; unmet: the
    filters that every candidate of a recommendation passes.
    """

    bundle: Bundle
    available: AvailableRows
    catalogue: BundleCatalogue
    eligibility: AttributeEligibility
    histories: BundleHistories
    encoder: AttentiveQueryEncoder
    ranker: NativeDeepFM
    nearest: NearestItems
    alike: NearestItems | None
    unmet: tuple[EligibleFilter, SeenFilter]
    popular: Ordered
    fresh: Ordered
    trending: Ordered

    @staticmethod
    def load(directory: Path, settings: Settings, threads: int = 1) -> Tables:
        """Of the bundle in ``directory``. Raises BundleRejected."""
        with returned_at_once():
            bundle = load(directory, settings.catalogue.capacity, threads)
        tables = Tables.of(bundle, settings, threads)
        give_back()  # what was needed on the way
        return tables

    @staticmethod
    def read(segment: Path) -> Tables:
        """Those that another process wrote. Raises BundleRejected: a graph's file is read again."""
        try:
            tables: Tables = read(segment)
        except (OSError, ValueError) as error:
            raise BundleRejected(str(segment), str(error)) from None
        return tables

    @staticmethod
    def of(bundle: Bundle, settings: Settings, threads: int = 1) -> Tables:
        """Raises BundleRejected."""
        flags = bundle.items.column("available").to_numpy()
        in_stock = np.zeros(bundle.rows, np.bool_)
        in_stock[: flags.shape[0]] = flags.astype(np.bool_)
        available = AvailableRows(in_stock)
        catalogue = BundleCatalogue(bundle, available)
        unmet = (EligibleFilter(), SeenFilter(catalogue))
        nearest, alike = _indices(bundle, settings.retrieval)
        ranking = settings.ranking
        return Tables(
            bundle=bundle,
            available=available,
            catalogue=catalogue,
            eligibility=AttributeEligibility(bundle, available),
            histories=BundleHistories(bundle, catalogue.bundle_keys, seen_policy(settings.state)),
            encoder=AttentiveQueryEncoder(bundle),
            ranker=NativeDeepFM(bundle, ranking.objectives, ranking.precision, threads),
            nearest=nearest,
            alike=alike,
            unmet=unmet,
            popular=popular(bundle, unmet),
            fresh=fresh(bundle, settings.retrieval.fresh_days, unmet),
            trending=trending(unmet),
        )


def _indices(bundle: Bundle, wanted: RetrievalSettings) -> tuple[NearestItems, NearestItems | None]:
    """Over the item tower's vectors, and over what items look and read like."""

    def near(index: Index, vectors: Vectors, present: Bits | None = None) -> NearestItems:
        searcher = _searcher(index, bundle.manifest.index, vectors, wanted)
        return NearestItems(searcher, vectors, present=present)

    base, content = near(bundle.index, bundle.vectors), bundle.content
    if content is None:
        return base, None
    has = np.any(content.vectors[: bundle.manifest.items] != 0, axis=1)
    return base, near(content.index, content.vectors, AvailableRows(has).bits)


def _searcher(
    index: Index, spec: IndexSpec, vectors: Vectors, wanted: RetrievalSettings
) -> Searcher:
    exact_below = wanted.exact_below
    if isinstance(index, IvfIndex) and isinstance(spec, IvfSpec):
        return ListSearcher(
            index, vectors, scanned=spec.scanned, reach=spec.reach, exact_below=exact_below
        )
    if isinstance(index, HnswGraph) and isinstance(spec, HnswSpec):
        beam = max(wanted.ef_search, spec.ef_search)
        return GraphSearcher(index, vectors.shape[1], ef_search=beam, exact_below=exact_below)
    raise ContractViolation(f"an index of the kind {spec.kind} was loaded as {type(index)}")
