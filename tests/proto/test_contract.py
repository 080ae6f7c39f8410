"""The public contract and what is generated from it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import EnumDescriptor

from tamis.v1 import item_pb2, recommend_service_pb2
from tamis_server.domain.candidates import DegradationLevel, Source
from tamis_server.domain.context import EventKind

PROTO = Path(__file__).resolve().parents[2] / "proto"


def test_the_committed_stubs_are_those_the_protos_generate() -> None:
    command = [sys.executable, str(PROTO / "generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", sorted(PROTO.rglob("*.proto")), ids=lambda path: path.name)
def test_every_field_and_value_is_commented_and_other_languages_find_their_package(
    path: Path,
) -> None:
    text = path.read_text()
    assert "option go_package" in text
    assert "option java_package" in text
    lines = text.splitlines()
    for number, line in enumerate(lines):
        declares = re.match(r"\s+[\w.<>, ]+ = \d+;|\s*(message|enum|service|rpc|oneof) \w+", line)
        if declares:
            assert lines[number - 1].strip().startswith("//"), f"{path.name}:{number + 1}: {line}"


def names(enum: EnumDescriptor, prefix: str) -> dict[str, int]:
    return {value.name.removeprefix(prefix): value.number for value in enum.values}


def test_event_kinds_have_the_numbers_that_state_and_bundles_hold() -> None:
    expected = {kind.name: int(kind) for kind in EventKind}
    assert names(item_pb2.EventKind.DESCRIPTOR, "EVENT_KIND_") == expected


def test_levels_and_sources_have_a_message_each() -> None:
    levels = names(recommend_service_pb2.DegradationLevel.DESCRIPTOR, "DEGRADATION_LEVEL_")
    sources = names(recommend_service_pb2.CandidateSource.DESCRIPTOR, "CANDIDATE_SOURCE_")
    assert set(levels) - {"UNSPECIFIED"} == {level.name for level in DegradationLevel}
    assert set(sources) - {"UNSPECIFIED"} == {source.name for source in Source}
