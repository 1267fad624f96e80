"""What a campaign is about: the datasets that its scope means, the systems that know who can reach them, and who answers for
them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.access._collector import canonical_source, source_of
from airflow_mlsec.connections import Connections
from airflow_mlsec.errors import MlsecError, UsageError
from airflow_mlsec.lineage import DatasetFacts, State, find_start, holders, read_datasets
from airflow_mlsec.policy import Organization, is_special
from airflow_mlsec.register import Register

KEYS = "keys:"


@dataclass(frozen=True)
class Scope:
    """What is reviewed. Without anything, every dataset in which people can be told apart.

    :ivar categories: Of the data, in the Fideslang taxonomy, each with all that is below it.
    :ivar datasets: Names or URIs, each with what was made from it, as long as people can be told apart in it.
    :ivar systems: Sources (`mlsec access sources`) that are reviewed as a whole.
    """

    categories: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As the register keeps it."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Scope:
        """From what `as_json` made."""
        return cls(**{name: tuple(document.get(name, ())) for name in ("categories", "datasets", "systems")})  # fmt: skip

    def __str__(self) -> str:
        parts = [f"{what} {', '.join(values)}" for what, values in (("category", self.categories), ("dataset", self.datasets), ("system", self.systems)) if values]  # fmt: skip
        return "; ".join(parts) or "every dataset with personal data"


@dataclass(frozen=True)
class Reach:
    """A dataset in the scope.

    :ivar owners: The owners of the policies of what it was made from, or of its own.
    :ivar is_special: Whether special categories of data are in it, or in what it was made from.
    :ivar needs_keys: Whether keys lead from it back to persons, or open it.
    :ivar source: The system that knows who can reach it; None if none here does.
    """

    name: str
    uri: str | None
    owners: tuple[str, ...]
    is_special: bool
    needs_keys: bool
    source: str | None = None


@dataclass(frozen=True)
class Resolved:
    """What a scope means now.

    :ivar sources: The systems that are read, in their one spelling.
    :ivar whole: Those of them that are reviewed as a whole.
    :ivar unread: Datasets of which no system here says who can reach them, each as a sentence.
    """

    reaches: tuple[Reach, ...]
    sources: tuple[str, ...]
    whole: frozenset[str]
    unread: tuple[str, ...]


def resolve(
    register: Register,
    scope: Scope,
    connections: Connections,
    before: Iterable[tuple[str, str | None]] = (),
) -> Resolved:
    """The datasets, and the systems, that a scope means.

    :param before: Names and places of datasets that it meant earlier: they are asked about still, wherever they went.
    :raises UsageError: if the register does not know a dataset, no dataset has a category, or no collector reads a system.
    """
    facts = register.read(read_datasets)
    by_id = {fact.id: fact for fact in facts}
    chosen = _chosen(register, scope, facts)
    found: dict[str, None] = {}
    reaches, unread = [], []
    meant = [_reach(by_id[number], by_id) for number in sorted(chosen)]
    now = {(reach.name, reach.uri) for reach in meant}
    by_name = {str(fact.name): fact for fact in facts}
    for name, uri in before:
        if (name, uri) not in now:
            fact = by_name.get(name)
            known = None if fact is None else _reach(fact, by_id)
            meant.append(
                Reach(name, uri, (), True, True) if known is None else replace(known, uri=uri)
            )
    for reach in meant:
        source, why = None, "no collector reads the system in which it is"
        try:
            source = None if reach.uri is None else source_of(reach.uri, connections)
        except MlsecError as error:
            why = str(error)
        if source is None:
            unread.append(f"who can reach {reach.name}: {why}")
        else:
            found.setdefault(source)
        reaches.append(replace(reach, source=source))
    whole = frozenset(canonical_source(system, connections) for system in scope.systems)
    if any(reach.needs_keys for reach in reaches):
        found.setdefault(KEYS)
    found |= dict.fromkeys(sorted(whole))
    return Resolved(tuple(reaches), tuple(found), whole, tuple(unread))


def _chosen(register: Register, scope: Scope, facts: list[DatasetFacts]) -> set[int]:
    by_name = {str(fact.name): fact.id for fact in facts}
    chosen: set[int] = set()
    for category in scope.categories:
        held = {by_name[h.dataset] for h in holders(register, category) if h.dataset in by_name}
        if not held:
            raise UsageError(
                f"no dataset that the register knows holds '{category}': record the policies that declare it "
                "(`mlsec check POLICY --record`)"
            )
        chosen |= held
    for dataset in scope.datasets:
        chosen |= _below(register.read(partial(_start, dataset)), facts)
    if not (scope.categories or scope.datasets or scope.systems):
        chosen = {fact.id for fact in facts if fact.is_personal}
    return chosen


def _start(named: str, connection: sa.Connection) -> int:
    return int(find_start(connection, named)[0].id)


def _below(start: int, facts: list[DatasetFacts]) -> set[int]:
    """A dataset, and what was made from it and is still personal."""
    made: dict[int, list[DatasetFacts]] = {}
    for fact in facts:
        for source in fact.sources:
            made.setdefault(source, []).append(fact)
    found, waiting = {start}, [start]
    for at in waiting:
        for fact in made.get(at, ()):
            if fact.id not in found and fact.is_personal:
                found.add(fact.id)
                waiting.append(fact.id)
    return found


def _reach(fact: DatasetFacts, by_id: Mapping[int, DatasetFacts]) -> Reach:
    owners, special = dict[str, None](), False
    for above in _above(fact, by_id):
        policy = above.policy or {}
        if policy.get("owner") and above.is_source:
            owners.setdefault(str(policy["owner"]))
        columns = (policy.get("columns") or {}).values()
        special |= any(is_special(column.get("category")) for column in columns)
    return Reach(
        str(fact.name), fact.uri, tuple(owners), special,
        fact.state is State.PSEUDONYMOUS or fact.kind == "artifact",
    )  # fmt: skip


def _above(fact: DatasetFacts, by_id: Mapping[int, DatasetFacts]) -> Iterator[DatasetFacts]:
    """A dataset, and everything that it was made from."""
    seen, waiting = {fact.id}, [fact.id]
    for at in waiting:
        yield by_id[at]
        for source in by_id[at].sources:
            if source not in seen and source in by_id:
                seen.add(source)
                waiting.append(source)


def members_of(organization: Organization, owners: tuple[str, ...]) -> tuple[str, ...]:
    """The accounts of those who answer for a dataset: of the teams that its policies name as owners."""
    teams = {team.name: team for team in organization.teams}
    found: dict[str, None] = {}
    for owner in owners:
        team = teams.get(owner)
        found |= dict.fromkeys(team.members if team is not None else ())
    return tuple(found)
