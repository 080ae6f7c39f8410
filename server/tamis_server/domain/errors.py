"""Failures, classed by who is responsible, because that decides what happens next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class FailureCategory(Enum):
    CLIENT = "client"  # the caller's fault: never retried, never pages anybody
    DEPENDENCY = "dependency"  # something we call failed or was late: may degrade
    CONTRACT = "contract"  # our own bug: always loud, never degraded


class TamisError(Exception):
    """Base of every error raised on purpose."""

    category = FailureCategory.CONTRACT


def installing(extra: str) -> str:
    """How what an extra brings is installed: from a checkout, since no index has the package."""
    return f"in the checkout, .venv/bin/pip install -c constraints.txt -e '.[{extra}]'"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing wrong with one field of a request; ``field`` is its path as the caller wrote it."""

    field: str
    description: str


class InvalidRequest(TamisError):
    """The request breaks the contract; names every field at fault."""

    category = FailureCategory.CLIENT

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in self.violations))


class NotFound(TamisError):
    """The request names a thing (item, bundle) that does not exist."""

    category = FailureCategory.CLIENT


class NotOffered(TamisError):
    """What is asked for, the bundle being served or this installation can't do; says why."""

    category = FailureCategory.CLIENT


class DeadlineExceeded(TamisError):
    """The caller's deadline passed, or was too short to begin."""

    category = FailureCategory.CLIENT


class Overloaded(TamisError):
    """Refused early, before a queue builds; ``retry_after_s`` is a hint to the caller."""

    category = FailureCategory.DEPENDENCY

    def __init__(self, what: str, retry_after_s: float = 0.1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{what} is at capacity")


class DependencyFailed(TamisError):
    """A dependency failed or was late; the funnel may go on without it."""

    category = FailureCategory.DEPENDENCY

    def __init__(self, dependency: str, reason: str) -> None:
        self.dependency = dependency
        self.reason = reason
        super().__init__(f"{dependency}: {reason}")


class ContractViolation(TamisError):
    """A component broke its contract (wrong shape, wrong dtype): a bug, never degraded."""


class BundleRejected(TamisError):
    """A bundle cannot be served; names the file and the reason."""

    category = FailureCategory.CLIENT

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(f"{file}: {reason}")


class StateRejected(TamisError):
    """A state store can't be used as it is; names where it is and the reason."""

    category = FailureCategory.CLIENT

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"state store {where}: {reason}")
