"""Answers as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tamis.v1 import recommend_service_pb2 as pb
from tamis_client import TamisClient

Answer = pb.RecommendResponse | pb.RelatedItemsResponse | pb.SearchResponse


def answer(console: Console, client: TamisClient, response: Answer) -> None:
    """The items with their reasons, then what each stage did."""
    titles = title_of(client, [item.item_id for item in response.items])
    found = isinstance(response, pb.SearchResponse)
    table = Table(title="Found" if found else "Recommended", title_justify="left")
    for heading, justify in (("#", "right"), ("item", "left"), ("title", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("score", justify="right")
    table.add_column("because")
    for item in response.items:
        reasons = ", ".join(_words(pb.ReasonCode.Name(reason)) for reason in item.reasons)
        title = titles.get(item.item_id, "")
        table.add_row(str(item.rank), item.item_id, title, f"{item.score:.3g}", reasons)
    console.print(table)
    if response.shortfall_reason:
        console.print(
            f"Fewer than asked: {_words(pb.ShortfallReason.Name(response.shortfall_reason))}"
        )
    console.print(_stages(response))
    level = _words(pb.DegradationLevel.Name(response.degradation.level))
    console.print(f"{level} quality · bundle {response.bundle_id} · request {response.request_id}")
    for cause in response.degradation.causes:
        console.print(f"  {cause.stage}: {cause.reason}")


def title_of(client: TamisClient, item_ids: Sequence[str]) -> dict[str, str]:
    """Titles by id of the items that the catalogue knows."""
    if not item_ids:
        return {}
    return {item.item_id: item.title for item in client.get_items(item_ids).items}


def _stages(response: Answer) -> Table:
    table = Table(title="Stages", title_justify="left")
    table.add_column("stage")
    for heading in ("in", "out", "ms"):
        table.add_column(heading, justify="right")
    table.add_column("counts")
    for stage in response.trace.stages:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(stage.counts.items()))
        table.add_row(
            stage.stage,
            str(stage.candidates_in or ""),
            str(stage.candidates_out or ""),
            f"{stage.duration.ToNanoseconds() / 1e6:.3f}",
            counts if stage.outcome == "ok" else stage.outcome,
        )
    total = response.trace.duration.ToNanoseconds() / 1e6
    table.add_row("total", "", "", f"{total:.3f}", "", style="bold")
    return table


def _words(name: str) -> str:
    for prefix in ("REASON_CODE_", "SHORTFALL_REASON_", "DEGRADATION_LEVEL_"):
        name = name.removeprefix(prefix)
    return name.lower().replace("_", " ")
