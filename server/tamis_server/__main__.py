"""``python -m tamis_server`` is ``tamis``."""

from tamis_server.cli import main

main()
