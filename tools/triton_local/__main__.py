"""``python -m triton_local --repository DIR``: serve its models until interrupted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from triton_local.server import NoTriton, TritonServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="triton_local", description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8001, help="of gRPC")
    options = parser.parse_args()
    repository = options.repository.resolve()
    if not repository.is_dir():
        print(f"{repository}: no model repository", file=sys.stderr)
        return 2
    try:
        with TritonServer(repository, grpc_port=options.port) as server:
            names = ", ".join(sorted(each.name for each in repository.iterdir()))
            print(f"serving {names} at {server.endpoint}; Ctrl-C ends it", flush=True)
            assert server.process is not None
            return server.process.wait()
    except KeyboardInterrupt:
        return 0
    except (NoTriton, RuntimeError) as error:
        print(f"tritonserver: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
