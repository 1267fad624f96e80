"""What the register knows of keys, holds and its log, in the form in which controls ask for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RingKey:
    """A version of a key of the ring in use."""

    name: str
    version: int
    since: str


@dataclass(frozen=True)
class ApiKeyFacts:
    """A key with which a program sends events, and what limits it."""

    name: str
    created_at: str
    namespaces: tuple[str, ...] | None
    expires_at: str | None
    events_per_hour: int | None


@dataclass(frozen=True)
class HoldFacts:
    """A legal hold that has not ended."""

    id: int
    placed_at: str
    placed_by: str


@dataclass(frozen=True)
class LogFacts:
    """How far the audit log is, and how far it was signed and when."""

    size: int
    signed_size: int | None
    signed_at: str | None
