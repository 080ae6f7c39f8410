"""``python -m triton_local --repository DIR [-- COMMAND …]``: serve its models until interrupted,
or while COMMAND runs; {endpoint} in it becomes the server's host:port."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from triton_local.server import NoTriton, TritonServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="triton_local", description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="of gRPC; 0 takes a free one")
    parser.add_argument("command", nargs="*", help="what to run meanwhile")
    options = parser.parse_args()
    repository = options.repository.resolve()
    if not repository.is_dir():
        print(f"{repository}: no model repository", file=sys.stderr)
        return 2
    try:
        with TritonServer(repository, grpc_port=options.port) as server:
            names = ", ".join(sorted(each.name for each in repository.iterdir()))
            print(f"serving {names} at {server.endpoint}", file=sys.stderr, flush=True)
            if options.command:
                command = [each.replace("{endpoint}", server.endpoint) for each in options.command]
                return subprocess.run(command, check=False).returncode
            assert server.process is not None
            return server.process.wait()
    except KeyboardInterrupt:
        return 0
    except (NoTriton, RuntimeError) as error:
        print(f"tritonserver: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
