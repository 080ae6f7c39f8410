"""Environment variables that look like settings and are none: a slip must not pass."""

from __future__ import annotations

import difflib
import re

from pydantic import BaseModel

from tamis_server.fields import field_at, paths, value_of

# which the kernels and the tests look for
_OTHERS = re.compile("TAMIS_(KERNELS|TRITON|REDIS_SERVER|TEST_[A-Z_]+)")
# Kubernetes tells every container of every service, and one may well be called tamis
_SERVICES = re.compile(
    r"TAMIS_(\w+_)?"
    r"(SERVICE_HOST=|SERVICE_PORT(_\w+)?=|PORT=\w+://|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=).*"
)
_NEAR = 0.85


def slip(settings: type[BaseModel], prefix: str, variable: str, text: str) -> str:
    """What is wrong with a variable that sets ``prefix`` SECTION__KEY; "" where nothing is, or it
    is no business of ours."""
    name = variable.upper()
    if (
        not name.startswith(prefix)
        or _OTHERS.fullmatch(name)
        or _SERVICES.fullmatch(f"{name}={text}")
    ):
        return ""
    section, *keys = path = name.removeprefix(prefix).lower().split("__")
    if section not in settings.model_fields:
        return f"no such setting; {_instead(settings, prefix, name)}"
    try:
        value_of(field_at(settings, path), text)
    except ValueError as error:
        alone = "" if keys else f" of a whole section; one setting is {name}__KEY"
        return f"it is JSON{alone} ({error})"
    return ""


def _instead(settings: type[BaseModel], prefix: str, name: str) -> str:
    known = [prefix + "__".join(path).upper() for path in paths(settings) if len(path) > 1]
    near = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    if near:
        return f"did you mean {near[0]}?"
    sections = ", ".join(sorted(settings.model_fields))
    return f"they are named {prefix}SECTION__KEY, and sections are {sections}"
