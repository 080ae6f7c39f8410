"""``python -m scenarios.data --bundle DIR``: the data files of loadtest/ghz, drawn from a bundle.

A file holds messages, which ghz sends one after another, again and again; of a streaming RPC it
holds the messages of one stream. Ids of events are ghz's to fill in at each call, so that none
comes twice.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from scenarios import DEMO
from scenarios.rpcs import RPCS
from scenarios.traffic import Traffic

DIRECTORY = Path(".cache") / "loadtest" / "data"
MESSAGES, STREAMED = 500, 10


def write(bundle: Path, directory: Path, seed: int = 0) -> list[Path]:
    """One file per RPC, written whole or not at all."""
    traffic = Traffic(bundle, seed, event_id=lambda: "{{newUUID}}")
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for rpc in RPCS.values():
        count = STREAMED if rpc.client_streaming else MESSAGES
        messages = [MessageToDict(traffic.draw(rpc.name)) for _ in range(count)]
        path = directory / f"{rpc.snake}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(messages))
        written.append(partial.rename(path))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(prog="scenarios.data", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="default: the demo shop's")
    parser.add_argument("--out", type=Path, default=DIRECTORY, help=f"default: {DIRECTORY}")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for path in write(options.bundle, options.out, options.seed):
        print(path)


if __name__ == "__main__":
    main()
