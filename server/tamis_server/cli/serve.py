"""``tamis serve``."""

from __future__ import annotations

from tamis_server.app import serve as run_server
from tamis_server.cli.options import (
    BundlePath,
    ConfigFile,
    Listen,
    Override,
    Workers,
    effective,
)
from tamis_server.observability import logging
from tamis_server.workers.supervisor import supervise


def serve(
    config: ConfigFile = None,
    bundle: BundlePath = None,
    listen: Listen = None,
    workers: Workers = None,
    override: Override = None,
) -> None:
    """Serve a bundle until SIGTERM; SIGHUP looks for a new one."""
    settings = effective(config, bundle, listen, workers, override)
    logging.configure(settings.log.level)
    if settings.server.workers > 1:
        supervise(settings)
    else:
        run_server(settings)
