"""Where a person's data can be, and how to find it there.

Everything that lineage reaches from the datasets whose policy is about this kind of person
is a place. For each place, *locators* follow from policy and evidence: columns that hold the
person's key, or a foreign key to it, or a pseudonym of either; membership lists of training
sets; free text. If there is no locator, the answer always gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import sqlalchemy as sa

from airflow_mlsec.datasets import (
    Capabilities,
    DatasetName,
    capabilities_of,
    local_files,
    local_path,
    place_of,
    uri_of,
)
from airflow_mlsec.errors import DatasetError, UsageError
from airflow_mlsec.ledger import Reason, ReleaseStatement
from airflow_mlsec.lineage import (
    PART,
    PERHAPS,
    State,
    column_states,
    columns_of,
    declared_by_pattern,
    edges_within,
    gone_since,
    intended,
    never_published,
    releases,
    transformations,
    unexplained,
    walk,
)
from airflow_mlsec.register import graph
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import Confirmed, Person
from airflow_mlsec.subjects.search import _reasons as reasons

Answer = TypeVar("Answer")

Edge = tuple[int, int, int]
# Outcomes of releases that may have been published, for a while or since.
MAYBE_PUBLISHED = ("intended", "superseded")


@dataclass(frozen=True)
class Locator:
    """A column that holds the values by which dataset ``root`` names the person: unchanged, as
    pseudonyms under ``key``, or as random codes of ``vault``, which finds values under ``key``."""

    column: str
    root: int
    key: str | None
    why: Reason
    # The domain of the token vault that gave the codes, if they are random.
    vault: str | None = None
    # The versions of the key that evidence names, each with its fingerprint if evidence has it: if one of
    # them is missing, the person may be there without being found.
    versions: tuple[tuple[int, str | None], ...] = ()
    # Whether it was found by likeness and confirmed by a person: it may hold anything the key may have become.
    likeness: bool = False
    # Whether every release made its pseudonyms from keys in their declared normal form.
    normalized: bool = False
    # The normal forms from which releases made pseudonyms of the key, according to evidence.
    forms: tuple[str, ...] = ()

    def described(self, searched: Sequence[int] = (), spellings: int = 1) -> Reason:
        """The locator as a reason that people can read; ``searched`` are the versions of the key, and ``spellings`` is
        how many spellings of the person's keys were searched for."""
        if self.likeness:
            return reasons.WhatKeyBecame(self.column)
        if self.key is None:
            return reasons.RawValue(self.column)
        if self.vault is not None:
            return reasons.CodeInColumn(self.column, self.vault)
        # The release made its pseudonym from one spelling of the key, which cannot be read from it.
        plausible = spellings if not self.normalized and spellings > 1 else None
        return reasons.PseudonymInColumn(
            self.column, self.key, tuple(map(str, searched)), plausible
        )


@dataclass(frozen=True)
class Place:
    """A dataset, artifact or model in which a person's data can be."""

    id: int
    name: str
    kind: str
    uri: str | None
    stage: str | None
    policy: Mapping[str, Any] | None
    # Whether our own operators recorded where it is, not only an event.
    trusted: bool = True
    locators: tuple[Locator, ...] = ()
    free_text: tuple[str, ...] = ()
    # Columns about other people than the person whose rows they are in.
    about_others: tuple[str, ...] = ()
    # If it was dropped or renamed away: (change, when).
    gone: tuple[str, str] | None = None
    anonymous: bool = False
    # Datasets that it was made from, directly or indirectly.
    sources: frozenset[int] = frozenset()
    # Datasets that it was made from directly.
    parents: frozenset[int] = frozenset()
    # Whether a path from a person's own rows leads here without passing a membership list.
    unlisted: bool = False
    # The columns here that distinguish people who share a key, by their name in the root.
    telling: Mapping[str, str] = field(default_factory=dict)
    # Whether a release was about to be published here, and it is not known whether it was.
    intended: bool = False
    # Unchanged copies of columns of people's rows, where no column says whose rows they are.
    keyless: tuple[str, ...] = ()
    # Whether a run wrote it and its inputs are not known.
    unexplained: bool = False
    # For a folder, the paths below it that are separate places: they are searched there.
    parts: tuple[str, ...] = ()
    # The place of which this is another name.
    same_as: int | None = None

    @property
    def capabilities(self) -> Capabilities | None:
        """The capabilities of the store it is in; None if they are not known."""
        return None if self.uri is None else _or_none(capabilities_of, self.uri)

    @property
    def local_path(self) -> Path | None:
        """The file or folder that contains it, if it is on this machine's disk."""
        return None if self.uri is None else _or_none(local_path, self.uri)

    @property
    def local_files(self) -> Path | None:
        """The file or folder that it is, if it is one on this machine's disk."""
        return None if self.uri is None else _or_none(local_files, self.uri)

    @property
    def subject(self) -> Mapping[str, Any] | None:
        """The policy's ``subject``."""
        return self.policy["subject"] if self.policy else None

    def names_people(self, kind: str) -> bool:
        """Whether its rows name people of this kind by the people's own key."""
        subject = self.subject
        return self.stage == "source" and bool(
            subject and subject["kind"] == kind and not subject.get("references")
        )

    def owners(self, kind: str) -> set[str]:
        """The columns whose person owns the row, according to the policy; may be empty."""
        subject = self.subject
        return {subject["key"]} if subject and subject["kind"] == kind else set()

    def mentions(self, kind: str) -> dict[str, str | None]:
        """Columns with keys of persons who do not own the row, and what the policy says happens there when such a
        person is erased: None if the policy does not say that, or does not say whose row it is."""
        columns = {locator.column for locator in self.locators}
        owners = self.owners(kind)
        if self.subject is not None and self.subject["kind"] != kind:
            said = self.subject.get("mentions") or {}
            return {column: said.get(column) for column in sorted(columns)}
        if not owners:
            return dict.fromkeys(sorted(columns), None) if len(columns) > 1 else {}
        said = (self.subject or {}).get("mentions") or {}
        return {column: said.get(column) for column in sorted(columns - owners)}

    def distinguished_by(self) -> list[str]:
        """Columns in which the rows of different people differ."""
        if self.subject is None or self.policy is None:
            return []
        said = self.subject.get("distinguished_by")
        if said is not None:
            return list(said)
        return [
            name
            for name, column in self.policy["columns"].items()
            if column["role"] == "identifying"
            and name != self.subject["key"]
            and not column.get("free_text")
        ]


@dataclass(frozen=True)
class Places:
    """All places of one kind of person, parents before children."""

    kind: str
    all: tuple[Place, ...]
    releases: Mapping[int, list[ReleaseStatement]] = field(default_factory=dict)
    # By dataset, the releases that may have been published for a while.
    perhaps: Mapping[int, list[ReleaseStatement]] = field(default_factory=dict)
    # Columns in which releases name, or ever named, these people by codes of a token vault.
    coded: tuple[Locator, ...] = ()
    # Vaults that releases about other people use as well: a code in them may be another person's.
    shared_vaults: frozenset[str] = frozenset()

    def statements(self, dataset: int) -> list[ReleaseStatement]:
        """Every release of a dataset that was, or may have been, published; the newest last."""
        return [*self.perhaps.get(dataset, ()), *self.releases.get(dataset, ())]

    def by_id(self, identifier: int) -> Place:
        """A place by its dataset's id."""
        return next(place for place in self.all if place.id == identifier)


def find_places(
    connection: sa.Connection,
    kind: str,
    telling: Collection[str] = (),
    confirmed: Collection[Confirmed] = (),
) -> Places:
    """All places of a kind of person; ``telling`` are columns that distinguish people who share a
    key, ``confirmed`` what somebody has confirmed about places found by likeness.

    Output of a run with unknown inputs may come from anything, so it is a place for every kind.

    :raises UsageError: if no dataset of the register is about this kind, or none has such a column.
    """
    known = _datasets(connection)
    roots = [p for p in known.values() if _is_root(p, kind)]
    if not roots:
        kinds = sorted({p.subject["kind"] for p in known.values() if p.subject})
        raise UsageError(
            f"the register knows no dataset about subjects of kind '{kind}'; it knows "
            f"{', '.join(kinds) or 'none yet: run a DAG with ComplianceCheckOperator first'}"
        )
    starts = [graph.node(place.id, graph.INTO) for place in roots]
    edges = edges_within(connection, starts, "down")
    covered = {p.id for p in roots} | {graph.dataset_of(target) for _, target, _ in edges}
    untold = unexplained(connection)
    covered |= untold | {said.dataset for said in confirmed if said.dataset in known}
    released = {d: found for d, found in releases(connection).items() if d in covered}
    copies = _Copies(connection, edges, covered)
    perhaps = {
        d: found for d, found in releases(connection, MAYBE_PUBLISHED).items() if d in covered
    }
    open_intents = intended(connection)
    ways = _Ways(connection, roots, copies, released, perhaps, known)
    locators = ways.locators
    for said in (c for c in confirmed if c.dataset in known):
        why = reasons.ConfirmedByPerson(said.by)
        own = Locator(said.column, said.dataset, None, why, likeness=True)
        locators.setdefault(said.dataset, []).append(own)
    keyless = copies.from_any(roots)
    parts = _parts(connection, known, covered)
    same = _other_names(connection, known, covered)
    for other, place in same.items():
        # What is known about a name applies to the place.
        mine = locators.setdefault(place, [])
        mine += [x for x in locators.pop(other, []) if x not in mine]
        covered.add(place)
    parents = _parents(edges)
    sources = _sources(parents)
    unlisted = _past_every_list(edges, {p.id for p in roots}, released)
    texts = _declared(roots, copies, lambda column: bool(column.get("free_text")))
    others = _declared(roots, copies, lambda column: column.get("about") == "others")
    told = _telling([root for root in roots if root.names_people(kind)], copies, telling)
    gone = {**never_published(connection), **gone_since(connection, covered)}
    states = column_states(connection, [graph.node(d, graph.OUT_OF) for d in covered])
    found = [
        replace(
            known[d],
            locators=tuple(locators.get(d, ())),
            free_text=tuple(sorted(texts.get(d, ()))),
            about_others=tuple(sorted(others.get(d, ()))),
            gone=gone.get(d),
            anonymous=states.get(graph.node(d, graph.OUT_OF), State.NONE) <= State.ANONYMOUS,
            sources=frozenset(sources.get(d, set())),
            parents=frozenset(parents.get(d, set()) - {d}),
            unlisted=d in unlisted,
            telling=told.get(d, {}),
            intended=d in open_intents,
            keyless=() if d in locators else tuple(sorted(keyless.get(d, ()))),
            unexplained=d in untold,
            parts=parts.get(d, ()),
            same_as=same.get(d),
        )
        for d in covered
    ]
    order = _parents_first(found)
    listed = tuple(sorted(found, key=lambda p: (order[p.id], p.id)))
    coded, shared = ways.vaults()
    return Places(kind, listed, released, perhaps, coded, shared)


def places_of(connection: sa.Connection, person: Person) -> Places:
    """All places in which a person's data can be.

    :raises UsageError: see `find_places`.
    """
    return find_places(connection, person.kind, person.only, person.confirmed)


def copies_of(
    connection: sa.Connection, place: Place, column: str
) -> tuple[list[tuple[int, str]], set[int]]:
    """Unchanged copies of a place's column as (dataset, column), including the column itself, and
    every dataset that data from it has reached."""
    known = {
        name: graph.node(dataset, ordinal)
        for dataset, name, ordinal in columns_of(connection, {place.id})
    }
    if column not in known:
        return [(place.id, column)], {place.id}
    edges = edges_within(connection, [known[column]], "down")
    reached = {place.id} | {graph.dataset_of(target) for _, target, _ in edges}
    found = _Copies(connection, edges, reached).of(place.id, column)
    return found or [(place.id, column)], reached


def _datasets(connection: sa.Connection) -> dict[int, Place]:
    d = t.dataset.c
    query = sa.select(t.dataset, t.policy.c.document).outerjoin(
        t.policy, d.policy_digest == t.policy.c.digest
    )
    by_pattern = declared_by_pattern(connection)
    return {
        row.id: Place(
            row.id,
            str(DatasetName(row.namespace, row.name)),
            row.kind,
            row.uri or _uri(row.namespace, row.name),
            "source" if row.id in by_pattern else row.stage,
            by_pattern.get(row.id, row.document),
            row.uri is not None,
        )
        for row in connection.execute(query.order_by(d.id))
    }


def _parts(
    connection: sa.Connection, known: Mapping[int, Place], covered: Collection[int]
) -> dict[int, tuple[str, ...]]:
    """For each folder, the paths below it that are places themselves."""
    a = t.alias.c
    found: dict[int, list[str]] = {}
    query = sa.select(a.dataset_id, a.other_id).where(a.kind == PART)
    for part, folder in connection.execute(query):
        uri = known[part].uri if part in covered and folder in covered else None
        if uri is not None:
            found.setdefault(folder, []).append(unquote(uri.partition("://")[2]).rpartition("@")[2])
    return {folder: tuple(sorted(paths)) for folder, paths in found.items()}


def _other_names(
    connection: sa.Connection, known: Mapping[int, Place], covered: Collection[int]
) -> dict[int, int]:
    """Places that are other names of places: through a link on this machine, or a table named without its database
    or schema where only one place can be meant."""
    found: dict[int, int] = {}
    # The real place is the one whose path contains no link.
    direct: dict[Any, int] = {}
    links: dict[int, Any] = {}
    for dataset in covered:
        uri, path = known[dataset].uri, known[dataset].local_path
        place = None if uri is None else _or_none(place_of, uri)
        if place is None or path is None:
            continue
        if str(path) == str(place[1]):
            direct[place] = dataset
        else:
            links[dataset] = place
    for dataset, place in links.items():
        if place in direct and place[1].exists():
            found[dataset] = direct[place]
    a = t.alias.c
    meant: dict[int, set[int]] = {}
    for name, other in connection.execute(
        sa.select(a.dataset_id, a.other_id).where(a.kind == PERHAPS)
    ):
        if name in covered and known[name].uri is None:
            meant.setdefault(name, set()).add(other)
    for name, others in meant.items():
        opened = [other for other in others if known[other].uri is not None]
        if len(others) == 1 and opened:
            found[name] = opened[0]
    return found


def _uri(namespace: str, name: str) -> str | None:
    """The URI that a dataset's OpenLineage name gives."""
    try:
        return uri_of(DatasetName(namespace, name))
    except DatasetError:
        return None  # the connector fails: searching the place reports that it cannot be opened


def _or_none(ask: Callable[[str], Answer], uri: str) -> Answer | None:
    """The answer for a URI; None if it cannot be read, which a search of its place reports."""
    try:
        return ask(uri)
    except DatasetError:
        return None


def _is_root(place: Place, kind: str) -> bool:
    return place.stage == "source" and place.subject is not None and place.subject["kind"] == kind


class _Copies:
    """Unchanged copies of columns, according to lineage."""

    def __init__(self, connection: sa.Connection, edges: list[Edge], covered: set[int]) -> None:
        self._nodes = {
            (dataset, name): graph.node(dataset, ordinal)
            for dataset, name, ordinal in columns_of(connection, covered)
        }
        self._names = {node: place for place, node in self._nodes.items()}
        steps = transformations(connection, {step for _, _, step in edges})
        self._same = [edge for edge in edges if _is_identity(steps[edge[2]])]

    def of(self, dataset: int, column: str) -> list[tuple[int, str]]:
        """(dataset, column) of every copy, including the column itself; empty if unknown."""
        start = self._nodes.get((dataset, column))
        if start is None:
            return []
        reached = walk(self._same, [start], "down").distance
        return [self._names[node] for node in reached if node in self._names]

    def from_any(self, roots: Collection[Place]) -> dict[int, set[str]]:
        """By dataset, the unchanged copies of any column of the given datasets."""
        ids = {root.id for root in roots}
        starts = [node for (dataset, _), node in self._nodes.items() if dataset in ids]
        found: dict[int, set[str]] = {}
        for node in walk(self._same, starts, "down").distance if starts else ():
            if node in self._names:
                dataset, name = self._names[node]
                found.setdefault(dataset, set()).add(name)
        return found


def _declared(
    roots: list[Place], copies: _Copies, wanted: Callable[[Mapping[str, Any]], bool]
) -> dict[int, set[str]]:
    """Columns of which a policy says something, by dataset: its own, and unchanged copies of them."""
    found: dict[int, set[str]] = {}
    for root in roots:
        assert root.policy is not None
        for column, said in root.policy["columns"].items():
            if wanted(said):
                found.setdefault(root.id, set()).add(column)
                for dataset, name in copies.of(root.id, column):
                    found.setdefault(dataset, set()).add(name)
    return found


def _telling(
    roots: list[Place], copies: _Copies, columns: Collection[str]
) -> dict[int, dict[str, str]]:
    """By dataset, the columns with unchanged copies of the roots' columns."""
    found: dict[int, dict[str, str]] = {}
    for column in columns:
        having = [root for root in roots if root.policy and column in root.policy["columns"]]
        if not having:
            names = ", ".join(sorted({c for root in roots for c in root.distinguished_by()}))
            raise UsageError(
                f"no dataset that names the person has a column '{column}'; try: {names}"
            )
        for root in having:
            found.setdefault(root.id, {})[column] = column
            for dataset, name in copies.of(root.id, column):
                found.setdefault(dataset, {}).setdefault(column, name)
    return found


def _past_every_list(
    edges: list[Edge], roots: set[int], released: Mapping[int, list[ReleaseStatement]]
) -> set[int]:
    """Datasets that can be reached from a person's own rows without passing a release that kept a
    membership list: such a list cannot say who is in them."""
    listed = {d for d, found in released.items() if found[-1].membership}
    following: dict[int, set[int]] = {}
    for source, target, _ in edges:
        following.setdefault(graph.dataset_of(source), set()).add(graph.dataset_of(target))
    reached, todo = set(roots), list(roots)
    while todo:
        for dataset in following.get(todo.pop(), ()):
            if dataset not in reached and dataset not in listed:
                reached.add(dataset)
                todo.append(dataset)
    return reached


class _Ways:
    """The ways in which people of a kind are named, in all places."""

    def __init__(
        self,
        connection: sa.Connection,
        roots: list[Place],
        copies: _Copies,
        released: Mapping[int, list[ReleaseStatement]],
        perhaps: Mapping[int, list[ReleaseStatement]],
        known: Mapping[int, Place],
    ) -> None:
        self._connection = connection
        self._raw: dict[tuple[int, str], int] = {}
        given = connection, roots, copies, released, perhaps, known, self._raw
        self.locators = _locators(*given)

    def vaults(self) -> tuple[tuple[Locator, ...], frozenset[str]]:
        """The vaults with codes of these people, according to every statement ever made, and those of them that
        also have codes of other people."""
        every = [
            statement
            for outcomes in (("published",), MAYBE_PUBLISHED)
            for listed in releases(self._connection, outcomes).values()
            for statement in listed
        ]
        mine = {
            c: said for c, said in _codes_of(self._connection, every, self._raw).items() if c.vault
        }
        others = {
            str(how.domain)
            for statement in every
            for name, how in statement.columns.items()
            if how.method == "vault"
            if (_source_of(self._connection, statement), name) not in self._raw
        }
        coded = tuple(
            _locator_of(c, c.column, said, reasons.SignedRelease()) for c, said in mine.items()
        )
        return coded, frozenset(c.vault for c in coded if c.vault in others and c.vault)


def _locators(
    connection: sa.Connection,
    roots: list[Place],
    copies: _Copies,
    released: Mapping[int, list[ReleaseStatement]],
    perhaps: Mapping[int, list[ReleaseStatement]],
    known: Mapping[int, Place],
    raw: dict[tuple[int, str], int],
) -> dict[int, list[Locator]]:
    by_uri = {place.uri: place for place in known.values() if place.uri}
    found: dict[int, list[Locator]] = {}

    def add(dataset: int, locator: Locator) -> None:
        listed = found.setdefault(dataset, [])
        for i, x in enumerate(listed):
            if (x.column, x.root, x.key, x.vault) == (
                locator.column,
                locator.root,
                locator.key,
                locator.vault,
            ):
                listed[i] = replace(
                    x,
                    versions=tuple(dict.fromkeys((*x.versions, *locator.versions))),
                    forms=tuple(dict.fromkeys((*x.forms, *locator.forms))),
                    normalized=x.normalized and locator.normalized,
                )
                return
        listed.append(locator)

    for root in roots:
        assert root.subject is not None
        column = root.subject["key"]
        references = root.subject.get("references")
        why: Reason = reasons.SubjectKey()
        if references:
            why = reasons.ForeignKey(references["dataset"])
        add(root.id, Locator(column, root.id, None, why))
        for mention in root.subject.get("mentions") or ():
            add(root.id, Locator(mention, root.id, None, reasons.MentionOfPerson()))
        for name in (column, *(root.subject.get("mentions") or ())):
            raw[root.id, name] = root.id
            why = reasons.CopyOfKey()
            for place in copies.of(root.id, name):
                if place != (root.id, name):
                    raw.setdefault(place, root.id)
                    add(place[0], Locator(place[1], root.id, None, why))
    for dataset in dict.fromkeys((*released, *perhaps)):
        maybe = perhaps.get(dataset, ())
        ever = [*maybe, *released.get(dataset, ())]
        # Releases that may have been published since count too, not only the known one.
        now = [ever[-1], *maybe]
        for code, stated in _codes_of(connection, now, raw).items():
            plan = stated[0].plan[:12]
            add(dataset, _locator_of(code, code.column, stated, reasons.ReleasedUnderPlan(plan)))
        # A copy may be of any earlier release, with its own pseudonyms and codes.
        for code, stated in _codes_of(connection, ever, raw).items():
            why = reasons.CopyOfCode() if code.vault else reasons.CopyOfPseudonym()
            for copy, column in copies.of(dataset, code.column):
                if copy != dataset:
                    add(copy, _locator_of(code, column, stated, why))
    # Where nothing names the person directly, the values that foreign keys refer to do.
    why = reasons.CopyOfReference()
    named = set(found)
    for root in roots:
        references = root.subject.get("references") if root.subject else None
        parent = by_uri.get(references["dataset"]) if references else None
        if not references or parent is None:
            continue
        for dataset, name in copies.of(parent.id, references["column"]):
            if dataset not in named:
                add(dataset, Locator(name, root.id, None, why))
    return found


@dataclass(frozen=True)
class _Code:
    """How a release names the people in a column that has keys or mentions of persons."""

    column: str
    root: int
    key: str
    vault: str | None


def _codes_of(
    connection: sa.Connection,
    statements: Sequence[ReleaseStatement],
    raw: Mapping[tuple[int, str], int],
) -> dict[_Code, list[ReleaseStatement]]:
    """The ways in which releases name people, each with the statements that say so."""
    found: dict[_Code, list[ReleaseStatement]] = {}
    for statement in statements:
        source = _source_of(connection, statement)
        for name, how in statement.columns.items():
            root = None if source is None else raw.get((source, name))
            if root is None or how.key is None or how.method not in ("pseudonymize", "vault"):
                continue
            vault = how.domain if how.method == "vault" else None
            stated = found.setdefault(_Code(name, root, how.key, vault), [])
            if statement not in stated:
                stated.append(statement)
    return found


def _locator_of(code: _Code, column: str, stated: list[ReleaseStatement], why: Reason) -> Locator:
    versions = _versions(stated, code.column, code.key)
    formal, forms = _normalized(stated, code.column), _forms_of(stated, code.column)
    return Locator(column, code.root, code.key, why, code.vault, versions, False, formal, forms)


def _versions(
    statements: list[ReleaseStatement], column: str, key: str
) -> tuple[tuple[int, str | None], ...]:
    """The key versions with which releases made a column's pseudonyms, with their fingerprints."""
    found: dict[tuple[int, str | None], None] = {}
    for statement in statements:
        how = statement.columns.get(column)
        if how is not None and how.key == key and how.version is not None:
            found[how.version, statement.keys.get(f"{key}/{how.version}")] = None
    return tuple(found)


def _forms_of(statements: list[ReleaseStatement], column: str) -> tuple[str, ...]:
    """The normal forms from which releases made a column's pseudonyms."""
    said = (how.normalize for x in statements if (how := x.columns.get(column)) is not None)
    return tuple(dict.fromkeys(form for form in said if form))


def _normalized(statements: list[ReleaseStatement], column: str) -> bool:
    """Whether every release made its pseudonyms from keys in a normal form."""
    said = (x.columns.get(column) for x in statements)
    return all(how is not None and how.normalize is not None for how in said)


def _source_of(connection: sa.Connection, statement: ReleaseStatement) -> int | None:
    d, source = t.dataset.c, statement.source
    query = sa.select(d.id).where(d.namespace == source.namespace, d.name == source.name)
    return connection.execute(query).scalar_one_or_none()


def _is_identity(step: Any) -> bool:
    if step.kind in ("same", "renamed"):
        return True
    said = (step.subtype or step.description or "").upper()
    return bool(step.kind == "direct" and said == "IDENTITY")


def _parents(edges: list[Edge]) -> dict[int, set[int]]:
    """By dataset, the datasets that it comes from directly."""
    before: dict[int, set[int]] = {}
    for source, target, _ in edges:
        if graph.dataset_of(source) != graph.dataset_of(target):
            before.setdefault(graph.dataset_of(target), set()).add(graph.dataset_of(source))
    return before


def _sources(before: dict[int, set[int]]) -> dict[int, set[int]]:
    """By dataset, the datasets that it comes from, directly or indirectly."""
    found = {}
    for dataset in before:
        above: set[int] = set()
        todo = [dataset]
        while todo:
            new = before.get(todo.pop(), set()) - above
            above |= new
            todo += new
        found[dataset] = above - {dataset}
    return found


def _parents_first(places: list[Place]) -> dict[int, int]:
    """How many foreign keys lead from a place to the person; sorts referenced tables first."""
    by_uri = {place.uri: place for place in places if place.uri}
    depth: dict[int, int] = {}
    for place in places:
        steps, at, seen = 0, place, {place.id}
        while at.stage == "source" and at.subject and at.subject.get("references"):
            parent = by_uri.get(at.subject["references"]["dataset"])
            if parent is None or parent.id in seen:
                break
            seen.add(parent.id)
            steps, at = steps + 1, parent
        depth[place.id] = steps
    return depth
