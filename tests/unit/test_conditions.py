"""What is typed behind --where, and the predicate that it means."""

from __future__ import annotations

import pytest
import typer

from tamis.v1 import recommend_service_pb2 as pb
from tamis_server.cli.conditions import predicate


def text(*values: str) -> pb.ValueList:
    return pb.ValueList(values=[pb.Value(text=value) for value in values])


@pytest.mark.parametrize(
    ("condition", "meant"),
    [
        ("price<=50", pb.Predicate(attribute="price", range=pb.Range(maximum=50))),
        ("price >= 9.5", pb.Predicate(attribute="price", range=pb.Range(minimum=9.5))),
        ("colour=red", pb.Predicate(attribute="colour", **{"in": text("red")})),
        ("tags = wool, warm", pb.Predicate(attribute="tags", **{"in": text("wool", "warm")})),
        ("colour!=dark blue", pb.Predicate(attribute="colour", not_in=text("dark blue"))),
        ('size="42"', pb.Predicate(attribute="size", **{"in": text("42")})),
        ('brand="A, B",C', pb.Predicate(attribute="brand", **{"in": text("A, B", "C")})),
        (
            "size=42",
            pb.Predicate(attribute="size", **{"in": pb.ValueList(values=[pb.Value(number=42)])}),
        ),
        (
            "new=true",
            pb.Predicate(attribute="new", **{"in": pb.ValueList(values=[pb.Value(boolean=True)])}),
        ),
    ],
)
def test_a_condition_means_a_predicate(condition: str, meant: pb.Predicate) -> None:
    assert predicate(condition) == meant


@pytest.mark.parametrize(
    "condition",
    ["price", "price<50", "=red", "colour=", "price<=cheap", "price<=1,2", 'brand="A', "a==b", ""],
)
def test_what_is_no_condition_is_refused_with_what_is_allowed(condition: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"name=value, .*name<=number or name>=number"):
        predicate(condition)
