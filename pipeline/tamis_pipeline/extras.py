"""Modules that need an extra, imported when a command asks for them."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from rich.console import Console

from tamis_server.domain.errors import installing


def module_of(name: str, extra: str = "train") -> ModuleType:
    """``tamis_pipeline.name``; where a library is missing, one line that names it, and exit 2."""
    try:
        return import_module(f"tamis_pipeline.{name}")
    except ModuleNotFoundError as missing:
        message = f"tamis: this {needs(missing, extra)}"
        Console(stderr=True).print(message, markup=False, soft_wrap=True)
        sys.exit(2)


def needs(missing: ModuleNotFoundError, extra: str) -> str:
    """What is missing, and what installs it."""
    return f"needs {missing.name}: {installing(extra)}"
