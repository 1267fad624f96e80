"""Finding one person's rows in one place."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import time
from decimal import Decimal, InvalidOperation
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize import (
    NormalForm,
    canonical_bytes,
    canonical_text,
    is_member,
    pseudonymize,
    tokens_of,
    vault_versions,
)
from airflow_mlsec.crypto import KeyRing, KeyState
from airflow_mlsec.datasets import (
    SINGLE,
    Condition,
    Connections,
    Dataset,
    DatasetName,
    Found,
    capabilities_of,
    files_below,
    local_path,
    open_artifact,
    open_dataset,
    parts_of,
    visible_files,
)
from airflow_mlsec.errors import (
    ColumnMissing,
    ColumnType,
    DatasetError,
    DatasetNotFound,
    EmptyDataset,
    MlsecError,
    Refused,
    UsageError,
)
from airflow_mlsec.ledger import Reason, ReleaseStatement
from airflow_mlsec.register import Register
from airflow_mlsec.subjects._identity import Person
from airflow_mlsec.subjects._spellings import alike, numerals, plausible
from airflow_mlsec.subjects.search import _reasons as reasons
from airflow_mlsec.subjects.search._needles import Needles, is_hash
from airflow_mlsec.subjects.search._places import Locator, Place, Places

_DEEPEST = 10
# The prefix of the names of pseudonym keys.
PSEUDONYMS = "pseudonym."
# Column names that are too common to mean anything.
_ANY_TABLE_S = (
    "id",
    "key",
    "no",
    "nr",
    "num",
    "number",
    "code",
    "name",
    "value",
    "index",
    "ref",
    "pk",
)
# Further entries of the computed erasure targets, in addition to the texts by place.
WORKED_OUT = "key versions"
# The rules under which the texts were computed: by place, the digest of its policy's subject.
RULES = "rules"
# What was rectified: place, column and the value.
RECTIFIED = "rectified"
# Where an earlier version kept what is in the register now (`mlsec_left`).
EARLIER_LEFT = "left"
_NO_PLACES = (WORKED_OUT, RULES, RECTIFIED, EARLIER_LEFT)


class Indistinguishable(DatasetError):
    """People who share a key cannot be told apart in a place."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason.words()))
        self.reason = reason


def unusable_key(keys: KeyRing, name: str, version: int) -> Reason:
    """Why a version that is needed cannot be used."""
    state = keys.state_of(name, version)
    why: Reason = reasons.KeyDiffers()
    if state is None:
        why = reasons.KeyAbsent()
    elif state is KeyState.DESTROYED:
        why = reasons.KeyDestroyed()
    elif state is KeyState.SCHEDULED:
        why = reasons.KeyScheduled()
    return reasons.KeyVersionUnusable(name, version, why)


@dataclass(frozen=True)
class Target:
    """Rows of a place that are the person's: those with one of the values in the column that also
    meet the other conditions, which are set where others share the person's key."""

    column: str
    values: list[object] = field(repr=False)
    also: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Searcher:
    """Searches for one person. ``roots`` are the locations that others' lineage may name."""

    register: Register
    person: Person
    places: Places
    keys: KeyRing
    connections: Connections | None = None
    roots: tuple[str, ...] = ()
    # Texts by column that an erasure has computed for each place while parents were still there.
    known: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict, repr=False)
    # Other spellings of the person's keys; they are used for searching only, never for acting.
    others: tuple[str, ...] = field(default=(), repr=False)
    # Cache: the values by which roots name the person, with all spellings of the declared form.
    _formed: dict[tuple[int, tuple[str, ...]], list[str]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def open(self, place: Place) -> Dataset:
        """The dataset of a place.

        :raises UsageError: if nothing trusted says where it is.
        """
        found = open_dataset(self.trusted_uri(place), self.connections)
        return found.without(place.parts) if place.parts else found

    def trusted_uri(self, place: Place) -> str:
        """The URI of a place that may be opened.

        :raises UsageError: if nothing trusted says where it is.
        """
        if place.uri is None:
            raise UsageError("the register has no URI to open it by")
        trusted = place.trusted or any(is_below(place.uri, root) for root in self.roots)
        if not trusted:
            raise UsageError(
                "only other programs' lineage names it; list its folder in [mlsec] data_roots"
            )
        return place.uri

    @cached_property
    def needles(self) -> Needles:
        """What a scan searches for."""
        texts = pa.array([*self.person.keys, *self.others], pa.string())
        found: dict[str, Reason] = {}
        for name in sorted({e.name for e in self.keys.entries() if e.name.startswith(PSEUDONYMS)}):
            for version in self.keys.live(name):
                tokens = pseudonymize(texts, "key", version.secret).to_pylist()
                found |= dict.fromkeys(tokens, reasons.PseudonymOfKey(name, version.version))
        # For every vault ever used: a release that was rebuilt under another vault may have left copies.
        for vault in sorted({x.vault for x in self.places.coded if x.vault}):
            codes = self.register.read(
                partial(tokens_of, keys=self.keys, domain=vault, texts=texts.to_pylist())
            )
            found |= dict.fromkeys(codes, reasons.CodeOfKey(vault))
        referred = [value for values in self.referred().values() for value in values]
        told = {*self.person.keys, *self.others, *referred}
        for name, targets in self.known.items():
            for _, listed in targets if name not in _NO_PLACES else ():
                for text in (text for text in listed if text not in told):
                    if is_hash(text):
                        found.setdefault(text, reasons.WorkedOut())
                    else:
                        referred.append(text)
        forms = self._known_forms() if self.others else ()
        naming = [p for p in self.places.all if p.names_people(self.person.kind)]
        exact = all(map(_is_exact, naming))
        by_column = self._called_by_column()
        return Needles.of(self.person.keys, self.others, referred, found, forms, exact, by_column)

    def codes(self) -> dict[str, list[str]]:
        """By domain of a token vault, the codes by which releases name or ever named the person."""
        found: dict[str, list[str]] = {}
        for locator in self.places.coded:
            with contextlib.suppress(DatasetError):  # without the root, nobody can be named
                found.setdefault(str(locator.vault), []).extend(self.texts(locator))
        return {domain: list(dict.fromkeys(codes)) for domain, codes in found.items()}

    def _called_by_column(self) -> dict[str, list[str]]:
        """By the name of a column that refers to people or is referred to, the values of the person there; common
        column names are left out."""
        found: dict[str, list[str]] = {}
        for place in self.places.all:
            references = place.subject.get("references") if place.subject else None
            if not references or place.stage != "source":
                continue
            with contextlib.suppress(DatasetError):
                values = self._values_of(place.id, 0)
                for name in (place.subject["key"], references["column"]):  # type: ignore[index]
                    if name.casefold() not in _ANY_TABLE_S:
                        found.setdefault(name, []).extend(values)
        return found

    def beyond_scan(self, place: Place) -> Reason | None:
        """Why the person may be in a place although no column there holds anything like the key."""
        if place.kind != "table":
            return reasons.ModelOpaque()
        if place.intended:
            return reasons.ReleaseMayAppear()
        for source in (place.id, *sorted(place.sources)):
            statements = self.places.statements(source)
            if not statements:
                continue
            if source == place.id or not self.places.by_id(source).locators:
                return reasons.KeysTakenOut()
        if place.keyless:
            return reasons.KeylessCopies(tuple(place.keyless[:5]))
        return None

    def targets(self, place: Place, dataset: Dataset) -> list[Target]:
        """The rows of a place's dataset that are the person's.

        :raises ColumnMissing: if a column that policy or lineage names is not there.
        :raises Indistinguishable: if nothing there tells people who share the key apart.
        """
        texts: dict[str, list[str]] = {}
        for locator in place.locators:
            texts.setdefault(locator.column, []).extend(self.texts_at(place, locator))
        for column, listed in self.known.get(str(place.id), ()):
            texts.setdefault(column, []).extend(listed)
        return self.as_targets(place, dataset, texts)

    def texts_at(self, place: Place, locator: Locator) -> list[str]:
        """The texts for this person in a locator's column, in all spellings of the declared form that the column
        has."""
        if self._own_rule(place, locator):
            return []
        texts = self.texts(locator)
        if locator.key is not None or locator.likeness or not texts:
            return texts
        # A copy or a mention may spell the key differently from the root.
        root = self.places.by_id(locator.root)
        form = _form_of(root)
        return [*texts, *self._of_form(place, locator.column, form, texts)] if form else texts

    def earlier_names(self, place: Place, locators: Sequence[Locator], now: str) -> list[str]:
        """Earlier texts for the person that may remain in columns that were set to ``now``."""
        earlier = [key for key in self.person.keys if key != now]
        found: dict[str, None] = {}
        for locator in locators:
            form = _form_of(self.places.by_id(locator.root))
            texts = [*earlier, *self.texts_at(place, locator)]
            if form is not None and all(form.of_text(k) != form.of_text(now) for k in earlier):
                texts = [text for text in texts if form.of_text(text) != form.of_text(now)]
            found.update(dict.fromkeys(text for text in texts if text != now))
        return list(found)

    def _own_rule(self, place: Place, locator: Locator) -> bool:
        """Whether the place's own policy decides which spellings in its column are the same, regardless of the policy
        of the dataset that it is a copy of."""
        return (
            locator.root != place.id
            and locator.key is None
            and not locator.likeness
            and place.names_people(self.person.kind)
            and place.subject is not None
            and place.subject["key"] == locator.column
        )

    def as_targets(
        self, place: Place, dataset: Dataset, texts: Mapping[str, Sequence[str]]
    ) -> list[Target]:
        """Texts by column, converted to a place's `Target` objects."""
        found = []
        for column, listed in texts.items():
            values = self.typed(list(dict.fromkeys(listed)), dataset, column)
            if values:
                found.append(Target(column, values, self._narrowed(place, dataset, column)))
        return found

    def rows(self, place: Place, keep: bool = True, without: Collection[str] = ()) -> Found:
        """The person's rows in a place, except those found by the columns in ``without``."""
        dataset, found = self.open(place), Found()
        for target in self.targets(place, dataset):
            if target.column not in without:
                found.add(dataset.find_in(target.column, target.values, keep, target.also))
        return found

    def widened(self) -> Searcher:
        """See `_widened`. It reads all places that name people, and is therefore computed only once."""
        return self._widened

    @cached_property
    def _widened(self) -> Searcher:
        """A searcher that also has other spellings of the person's keys: those found where people are named, and
        plausible ones. It has no others if every other spelling is another person's."""
        found: dict[str, None] = {}
        inexact = False
        for place in self.places.all:
            if not place.names_people(self.person.kind) or place.subject is None:
                continue
            if _is_exact(place):
                continue
            inexact = True
            with contextlib.suppress(MlsecError, OSError):
                keys = self.person.keys
                found.update(dict.fromkeys(self._spelled(place, place.subject["key"], keys)))
        others = (*found, *plausible(self.person.keys)) if inexact else ()
        # Forms from which releases made pseudonyms, and that other datasets treat as the same key.
        formal = [f.of_text(key) for f in self._known_forms() for key in self.person.keys]
        told = dict.fromkeys((*others, *formal))
        return replace(self, others=tuple(t for t in told if t and t not in self.person.keys))

    def _known_forms(self) -> list[NormalForm]:
        """The normal forms of policies, and those named in evidence of releases."""
        said = (
            how.normalize
            for listed in (self.places.releases, self.places.perhaps)
            for statements in listed.values()
            for statement in statements
            for how in statement.columns.values()
            if how.normalize is not None
        )
        return list(dict.fromkeys((*self.forms(), *map(NormalForm.parse, said))))

    def has_exact_keys(self, place: Place) -> bool:
        """Whether other spellings of a key are other people's, for all locators of a place."""
        roots = [self.places.by_id(locator.root) for locator in place.locators]
        return bool(roots) and all(_is_exact(root) for root in roots)

    def others_named(self, place: Place, column: str, text: str) -> bool:
        """Whether a column has a key, in any spelling, that is not one of this person's."""
        mine = {*self._values_of(place.id, 0), *self.person.keys}
        same = self.same_keys(place, column, [text])
        if not _is_exact(place):
            same += self._spelled(place, column, [text])
        values = self.typed([t for t in same if t not in mine], self.open(place), column)
        return bool(values) and self.open(place).find_in(column, values, keep=False).rows > 0

    def all_names(self) -> list[str]:
        """The person's keys, and all texts that datasets naming the person treat as these keys."""
        found = dict.fromkeys(self.person.keys)
        for place in self.places.all:
            if place.names_people(self.person.kind):
                found.update(dict.fromkeys(self._values_of(place.id, 0)))
        return list(found)

    def forms(self) -> list[NormalForm]:
        """The normal forms that datasets of this kind of person declare for their keys."""
        found = (_form_of(place) for place in self.places.all)
        return list(dict.fromkeys(form for form in found if form))

    def alike(self, place: Place) -> int:
        """How many rows name the person in a spelling other than the given keys."""
        dataset, rows = self.open(place), 0
        exact = dict.fromkeys(text for loc in place.locators for text in self.texts(loc))
        for locator in place.locators:
            root = self.places.by_id(locator.root)
            if not self.others or locator.likeness or self._own_rule(place, locator):
                continue
            formal = [
                NormalForm.parse(form).of_text(key)
                for form in locator.forms
                for key in self.person.keys
            ]
            if _is_exact(root) and not formal:
                continue
            if locator.key is None:
                mine = self._values_of(root.id, 0)
                texts = [
                    *self._spelled(place, locator.column, mine),
                    *numerals(mine, locator.root != place.id),
                ]
            else:
                # For keys that are exact now: only what an earlier release treated as the same.
                others = () if _is_exact(root) else self._others_of(root)
                texts = self._codes(locator, [*others, *formal])
            new = [text for text in texts if text not in exact]
            values = self.typed(new, dataset, locator.column) if new else []
            if values:
                rows += dataset.find_in(locator.column, values, keep=False).rows
        return rows

    def plausible_spellings(self, locator: Locator) -> int:
        """How many spellings are searched for where a release made its pseudonym from one spelling of the key."""
        root = self.places.by_id(locator.root)
        if not self.others or locator.likeness or _is_exact(root):
            return 1
        return len({*self._values_of(root.id, 0), *self._others_of(root)})

    def _others_of(self, root: Place) -> Sequence[str]:
        """Other spellings of the values by which a root names the person."""
        if root.names_people(self.person.kind):
            return self.others
        return plausible(self._values_of(root.id, 0))

    def _spelled(self, place: Place, column: str, texts: Sequence[str]) -> list[str]:
        """Other spellings of some texts in a column."""
        found: dict[str, None] = {}
        for batch in self.open(place).scan([column]) if texts else ():
            found.update(dict.fromkeys(alike(batch.column(0), column, texts)))
        return list(found)

    def same_keys(self, place: Place, column: str, texts: Sequence[str]) -> list[str]:
        """Some texts, plus all texts of a column with the same normal form, if the place's policy declares one."""
        form = _form_of(place)
        if form is None or not texts:
            return list(texts)
        return [*texts, *self._of_form(place, column, form, texts)]

    def _of_form(
        self, place: Place, column: str, form: NormalForm, texts: Sequence[str]
    ) -> list[str]:
        wanted = pa.array(sorted({form.of_text(text) for text in texts}), pa.large_string())
        found: dict[str, None] = {}
        for batch in self.open(place).scan([column]):
            values = canonical_text(batch.column(0), column).cast(pa.large_string())
            values = values.unique().drop_null()
            mine = values.filter(pc.is_in(form.of_texts(values), wanted))
            found.update(dict.fromkeys(mine.to_pylist()))
        return [text for text in found if text not in texts]

    def _in_normal_form(self, root: Place, texts: list[str]) -> list[str]:
        """The values by which a root names the person, plus all texts that its policy declares to be the same: the
        normal form, the spellings in the root, and plausible spellings at the time when a release was
        made."""
        form = _form_of(root)
        if form is None or not texts or root.subject is None:
            return texts
        known = root.id, tuple(texts)
        if known in self._formed:
            return self._formed[known]
        wanted = {form.of_text(text) for text in texts}
        found = dict.fromkeys((*texts, *sorted(wanted)))
        found.update(dict.fromkeys(t for t in plausible(texts) if form.of_text(t) in wanted))
        with contextlib.suppress(MlsecError, OSError):
            # A root that cannot be read is reported as a place of its own.
            found.update(dict.fromkeys(self._of_form(root, root.subject["key"], form, texts)))
        self._formed[known] = list(found)
        return self._formed[known]

    def mentioned(self, place: Place) -> dict[str, int]:
        """How many rows name the person, for each column that does not say whose row it is."""
        columns, dataset = place.mentions(self.person.kind), None
        counts: dict[str, int] = {}
        if columns:
            dataset = self.open(place)
            for target in self.targets(place, dataset):
                if target.column in columns:
                    given = (target.column, target.values, False, target.also)
                    counts[target.column] = dataset.find_in(*given).rows
        return {column: rows for column, rows in counts.items() if rows}

    def refuse_mentions(self, place: Place) -> None:
        """:raises Indistinguishable: if rows name the person in a column for which the policy does not say whose row
        it is, or does not say what happens to a mention."""
        said = place.mentions(self.person.kind)
        open_ = sorted(c for c in self.mentioned(place) if said[c] is None)
        if open_:
            owners = bool(place.owners(self.person.kind))
            said_of = tuple(open_), place.name
            raise Indistinguishable(reasons.MentionsOpen(*said_of, owners, not owners))

    def shared(self, place: Place) -> Reason | None:
        """Why the rows that the person's keys find seem to be several people's, if they do.

        Rows with the same key that differ in a column that tells people apart belong to different
        people, until somebody says that they are one person.
        """
        telling = place.distinguished_by()
        if self.person.one_person or not place.names_people(self.person.kind) or not telling:
            return None
        if self.is_empty(place):
            copied = any(
                x.root == place.id for p in self.places.all for x in p.locators if p.id != place.id
            )
            return reasons.SharingUntold(reasons.RowsMissing()) if copied else None
        dataset = self.open(place)
        present = set(dataset.schema().names)
        columns = [name for name in telling if name in present]
        if not columns:
            return None
        assert place.subject is not None
        key = place.subject["key"]
        for text in self.person.keys:
            told: dict[str, set[str]] = {}
            texts = self.same_keys(place, key, [text])
            for target in self.as_targets(place, dataset, {key: texts}):
                for batch in dataset.find_in(
                    target.column, target.values, True, target.also
                ).batches:
                    for name in columns:
                        values = canonical_text(batch.column(name), name).drop_null()
                        told.setdefault(name, set()).update(values.to_pylist())
            differing = [name for name, values in told.items() if len(values) > 1]
            if differing:
                people = max(len(told[name]) for name in differing)
                return reasons.SharedKey(people, tuple(differing))
        return None

    def require_one_person(self, settled: Collection[int | None] = ()) -> None:
        """:raises Refused: if the keys may name more than one person: one person's data must be neither
        handed to another nor erased for another. If a dataset that tells people apart is missing or cannot be read,
        this is unknown and also refused, unless a person has ``settled`` the dataset."""
        for place in self.places.all:
            if place.names_people(self.person.kind) and not self.is_gone(place):
                if place.id in settled:
                    continue
                try:
                    reason = self.shared(place)
                except DatasetNotFound:
                    reason = reasons.SharingUntold(reasons.DatasetMissing())
                except DatasetError as error:
                    reason = reasons.SharingUntold(reasons.ErrorSays(str(error)))
                if reason:
                    raise Refused(f"{place.name}: {reason.words()}")

    def changed_since_release(self, place: Place) -> bool:
        """Whether the file at a release's place is not the one that its newest evidence names: it may
        have rows that no evidence covers."""
        released = self.places.releases.get(place.id)
        stated = released[-1].target.sha256 if released else None
        return stated is not None and self.open(place).digest() != stated

    def is_all_parts(self, place: Place) -> bool:
        """Whether everything in a folder is a separate place."""
        return bool(place.parts) and not self.open(place).schema().names

    def is_gone(self, place: Place) -> bool:
        """Whether lineage says that a place was dropped and a check confirms it."""
        return place.gone is not None and not self.open(place).exists()

    def is_empty(self, place: Place) -> bool:
        """Whether a place exists without any rows, and therefore without columns.

        :raises DatasetNotFound: if nothing is there: somebody may have moved it, or a disk is not mounted.
        """
        try:
            self.open(place).schema()
        except EmptyDataset:
            return True
        return False

    def _narrowed(self, place: Place, dataset: Dataset, column: str) -> tuple[Condition, ...]:
        """The conditions that rows must meet in addition to having the key in ``column``."""
        by_key = any(
            locator.column == column
            and (locator.likeness or self.places.by_id(locator.root).names_people(self.person.kind))
            for locator in place.locators
        )
        if not self.person.only or not by_key:
            return ()
        known = {
            place.telling[name]: v for name, v in self.person.only.items() if name in place.telling
        }
        if len(known) < len(self.person.only):
            raise Indistinguishable(reasons.NothingTellsApart(place.name, tuple(self.person.only)))
        told = {name: self.typed([text], dataset, name) for name, text in known.items()}
        if unfit := [name for name, values in told.items() if not values]:
            raise Indistinguishable(reasons.TellingOfOtherType(unfit[0], place.name))
        return tuple(Condition(name, values) for name, values in told.items())

    def text_rows(self, place: Place) -> dict[str, int]:
        """How many rows of each free-text column name one of the person's keys; a human decides."""
        if not place.free_text:
            return {}
        formal = [f.of_text(key) for f in self._known_forms() for key in self.person.keys]
        texts = dict.fromkeys((*self.person.keys, *formal))
        words = "|".join([*map(re.escape, texts), *self.needles.patterns])
        pattern = f"(?i){words}"
        counts = dict.fromkeys(place.free_text, 0)
        for batch in self.open(place).scan(list(place.free_text)):
            for name in place.free_text:
                texts = batch.column(name).cast(pa.string())
                hits = pc.sum(pc.match_substring_regex(texts, pattern)).as_py()
                counts[name] += hits or 0
        return counts

    def versions(self, locator: Locator) -> list[int]:
        """The versions of a pseudonym's key that are searched for; empty for a raw value."""
        return [] if locator.key is None else [key.version for key in self.keys.live(locator.key)]

    def missing(self, place: Place) -> list[Reason]:
        """What the key ring lacks to answer for a place: key versions under which the person may be recorded there but
        cannot be searched for. Empty if the place was not found by a key."""
        found: list[Reason] = []
        for locator in place.locators:
            if locator.key is None:
                continue
            if (vault := locator.vault) is None:
                needed = locator.versions
            else:
                needed = self.register.read(partial(vault_versions, domain=vault))
            for version, fingerprint in needed:
                if [place.id, locator.key, version] in self.worked_out:
                    continue
                if not self.keys.usable(locator.key, version, fingerprint):
                    found.append(unusable_key(self.keys, locator.key, version))
        return list(dict.fromkeys(found))

    @property
    def worked_out(self) -> Sequence[Sequence[Any]]:
        """Key versions (place, name, version) under which an erasure has computed the person's pseudonyms:
        the pseudonyms are known even if the version no longer exists."""
        return self.known.get(WORKED_OUT, ())

    def membership(self, place: Place) -> tuple[bool, ReleaseStatement] | None:
        """Whether the person is on a membership list of the releases that a place was made from (or
        is), and the release that says so; None if not all of them kept a list.

        A model does not forget a person whom a later release left out, so every list counts.
        """
        own = self.places.statements(place.id)
        if place.unlisted and not own:
            return None
        above = [self.places.statements(i) for i in sorted(place.sources)]
        sources = [own] if own else [statements for statements in above if statements]
        # If two lists have the same path, the later one is there and the earlier one is lost.
        lists: dict[str, ReleaseStatement] = {}
        lost = False
        for statement in (x for source in sources for x in source):
            if (kept := statement.membership) is None:
                continue
            before = lists.get(kept.path)
            lost = lost or (before is not None and before.membership != kept)
            lists[kept.path] = statement
        if not lists or any(source[-1].membership is None for source in sources):
            return None
        newest_first = list(reversed(list(lists.values())))
        for statement in newest_first:
            if self._is_member(statement, self._keys_at(statement)):
                return True, statement
        return None if lost else (False, newest_first[0])

    def alike_in(self, place: Place) -> bool:
        """Whether a membership list of a place, or of what it was made from, has another spelling of the
        person's keys."""
        # A retry replaces its own list; the later statement describes the file.
        lists = {
            statement.membership.path: statement
            for source in (place.id, *sorted(place.sources))
            for statement in self.places.statements(source)
            if statement.membership
        }
        return any(self._is_member(statement, self.others) for statement in lists.values())

    def tags(self, datasets: Collection[int | None]) -> int:
        """How many membership lists of releases to some datasets have the person; lists that cannot be read
        are counted too."""
        found = 0
        lists = {
            statement.membership.path: statement
            for dataset in datasets
            if dataset is not None
            for statement in self.places.statements(dataset)
            if statement.membership
        }
        for statement in lists.values():
            try:
                found += self._is_member(statement, self._keys_at(statement))
            except MlsecError:
                found += 1
        return found

    def _keys_at(self, statement: ReleaseStatement) -> Sequence[str]:
        """The values by which the source of a release names the person."""
        source = str(DatasetName(statement.source.namespace, statement.source.name))
        root = next((p for p in self.places.all if p.name == source), None)
        if root is None or not root.names_people(self.person.kind):
            return self.person.keys
        return self._values_of(root.id, 0)

    def _is_member(self, statement: ReleaseStatement, keys: Sequence[str]) -> bool:
        kept = statement.membership
        if kept is None:
            return False
        place = open_artifact(kept.path, self.connections)
        given = place, kept.sha256, self.person.kind
        return any(is_member(*given, key, self.keys) for key in keys)

    def texts(self, locator: Locator) -> list[str]:
        """The texts for this person in a locator's column."""
        if locator.likeness:
            return self.likenesses(self.places.by_id(locator.root), locator.column)
        values = self._values_of(locator.root, 0)
        return values if locator.key is None else self._codes(locator, values)

    def _codes(self, locator: Locator, values: Sequence[str]) -> list[str]:
        """The pseudonyms or random codes of some values."""
        if not values or locator.key is None:
            return []
        if (vault := locator.vault) is not None:
            return self.register.read(lambda c: tokens_of(c, self.keys, vault, values))
        return [
            token
            for version in self.keys.live(locator.key)
            for token in pseudonymize(
                pa.array(values, pa.string()), locator.column, version.secret
            ).to_pylist()
        ]

    def likenesses(self, place: Place, column: str) -> list[str]:
        """The values of a column that match anything the person's key may have become."""
        found: dict[str, None] = {}
        for batch in self.open(place).scan([column]):
            found.update(dict.fromkeys(self.needles.values_in(batch.column(0), column)))
        return list(found)

    def _values_of(self, root: int, depth: int) -> list[str]:
        """The values by which a root names the person: the keys, or a foreign key's values."""
        place = self.places.by_id(root)
        references = place.subject.get("references") if place.subject else None
        if not references:
            return self._in_normal_form(place, list(self.person.keys))
        if depth >= _DEEPEST:
            raise DatasetError(f"the foreign keys of {place.name} lead in a circle")
        parent = next(
            (p for p in self.places.all if p.uri == _canonical(references["dataset"])), None
        )
        if parent is None or parent.stage != "source" or not parent.subject:
            raise DatasetError(
                f"{place.name} refers to {references['dataset']}, for which the register has no policy "
                f"about subjects of kind '{self.person.kind}'"
            )
        if self.is_empty(parent):
            return []  # it names nobody
        dataset, key = self.open(parent), parent.subject["key"]
        column = references["column"]
        typed = self.typed(self._values_of(parent.id, depth + 1), dataset, key)
        found: list[str] = []
        mine = 0
        also = self._narrowed(parent, dataset, key)
        for batch in dataset.find_in(key, typed, True, also).batches if typed else ():
            if column not in batch.schema.names:
                raise ColumnMissing.among([column], batch.schema.names, f"of '{dataset.uri}'")
            texts = canonical_text(batch.column(column), column).drop_null().to_pylist()
            mine += len(texts)
            found += texts
        found = list(dict.fromkeys(found))
        known = self.typed(found, dataset, column)
        if known and dataset.find_in(column, known, keep=False).rows > mine:
            raise Indistinguishable(
                reasons.ReferenceShared(place.name, column, parent.name, form=False, same=True)
            )
        if form := _form_of(place):
            # This form may also match other people: if more rows match than are the person's, it is ambiguous.
            alike_ = [*found, *self._of_form(parent, column, form, found)] if found else []
            known = self.typed(alike_, dataset, column)
            if known and dataset.find_in(column, known, keep=False).rows > mine:
                raise Indistinguishable(
                    reasons.ReferenceShared(place.name, column, parent.name, form=True, same=False)
                )
        return self._in_normal_form(place, found)

    def orphans(self, place: Place) -> Reason | None:
        """Why there may be more data of the person than a foreign key leads to: rows refer to people who are no
        longer in the referenced dataset, and the person may have been one of them."""
        for locator in place.locators:
            root = self.places.by_id(locator.root)
            references = root.subject.get("references") if root.subject else None
            if not references or locator.likeness:
                continue
            if locator.key is not None and self._values_of(locator.root, 0):
                continue  # the codes for the person's values are known
            form = _form_of(root) or NormalForm("exact")
            uri = _canonical(references["dataset"])
            parent = next((p for p in self.places.all if p.uri == uri), None)
            # What an erasure has computed is the person's, even if the parent is gone by now.
            worked_out = self.known.get(str(place.id), ())
            there = {
                text for column, mine in worked_out if column == locator.column for text in mine
            }
            if parent is not None and self.open(parent).exists() and not self.is_empty(parent):
                for batch in self.open(parent).scan([references["column"]]):
                    listed = canonical_text(batch.column(0), references["column"])
                    there.update(listed.drop_null().unique().to_pylist())
            if locator.key is not None:
                # A release has codes of the values: those of existing people are known; whose the others are is not.
                form, there = NormalForm("exact"), self._all_codes(locator, root, there)
            known = form.of_texts(pa.array(sorted(there), pa.large_string()))
            rows = 0
            for batch in self.open(place).scan([locator.column]):
                values = canonical_text(batch.column(0), locator.column).drop_null()
                values = form.of_texts(values.cast(pa.large_string()))
                rows += len(values) - (pc.sum(pc.is_in(values, known)).as_py() or 0)
            if rows:
                return reasons.RowsOfPeopleGone(rows, references["dataset"])
        return None

    def _all_codes(self, locator: Locator, root: Place, texts: Collection[str]) -> set[str]:
        """The codes of many values, as releases may have made them, plus those that an erasure has computed."""
        forms = {text for form in (NormalForm("exact"), _form_of(root)) if form is not None
                 for text in form.of_texts(pa.array(sorted(texts), pa.large_string())).to_pylist()}  # fmt: skip
        return {*texts, *self._codes(locator, sorted(forms))}

    def perhaps_more(self, place: Place) -> list[Reason]:
        """Why a place may have more data of the person than its columns lead to, now or soon."""
        coming = reasons.PublicationOpen() if place.intended else None
        whys = (coming, self.unlisted(place), self.unread(place), self.orphans(place))
        # Not being found under the remaining keys does not prove absence.
        return [*(why for why in whys if why), *self.missing(place)]

    def perhaps_other(self, place: Place) -> list[Reason]:
        """`perhaps_more`, and whether the file there is not the known release."""
        changed = [reasons.ChangedSinceEvidence()] if self.changed_since_release(place) else []
        return [*changed, *self.perhaps_more(place)]

    def unread(self, place: Place) -> Reason | None:
        """Why a folder may have rows of the person that were not searched: files without the column, or files of
        another format that no scan of the data roots reaches."""
        folder = place.local_files
        if folder is None or not place.locators or not folder.is_dir():
            return None
        if lacking := self.rows(place, keep=False).lacking:
            return reasons.FilesWithoutColumn(lacking)
        if any(is_below(f"{place.uri}/x", root) for root in self.roots):
            return None
        read = {str(path) for path in visible_files(folder)}
        every = map(Path, files_below(str(folder), place.uri or ""))
        others = [p for p in every if str(p) not in read and not _is_beside(p)]
        return reasons.FilesOfOtherFormat(len(others)) if others else None

    def unlisted(self, place: Place) -> Reason | None:
        """Why a place may have pseudonyms of the person that cannot be computed: they were made from an unlimited set
        of spellings."""
        for locator in place.locators:
            form = _form_of(self.places.by_id(locator.root))
            tagged = form is not None and form.name == "email_without_tag"
            if tagged and locator.key is not None and not locator.normalized:
                return reasons.TagsUnlisted()
        return None

    def referred(self) -> dict[str, list[str]]:
        """By `reference_of` a dataset and column, the values by which foreign keys know the person."""
        found: dict[str, list[str]] = {}
        for place in self.places.all:
            references = place.subject.get("references") if place.subject else None
            if references and place.stage == "source":
                with contextlib.suppress(DatasetError):
                    uri = _canonical(references["dataset"])
                    values = self._values_of(place.id, 0)
                    found.setdefault(reference_of(uri, references["column"]), []).extend(values)
        return found

    def spellings(self, columns: Sequence[str]) -> list[tuple[str, ...]]:
        """The person's keys, with the person's values of some columns, as typed and as written in each dataset
        that names people."""
        told = [self.person.only[column] for column in columns]
        found = {(key, *told): None for key in self.person.keys}
        for place in self.places.all:
            if not place.names_people(self.person.kind) or place.subject is None:
                continue
            with contextlib.suppress(DatasetError):
                schema = self.open(place).schema()
                named = [place.subject["key"], *columns]
                for key in self.person.keys:
                    texts = zip(named, [key, *told], strict=True)
                    found[tuple(_as_written(schema, *pair) for pair in texts)] = None
        return list(found)

    def typed(self, texts: Sequence[str], dataset: Dataset, column: str) -> list[object]:
        """Texts as values of a column's type; texts that cannot be such a value are left out.

        :raises ColumnMissing: if the dataset has no such column.
        """
        schema = dataset.schema()
        if column not in schema.names:
            raise ColumnMissing.among([column], schema.names, f"of '{dataset.uri}'")
        kind = schema.field(column).type
        if pa.types.is_nested(kind):
            raise ColumnType.unusable(column, kind, "a plain type", "looking a person up")
        single = SINGLE in (schema.field(column).metadata or {})
        held = pa.float32() if single else kind
        if pa.types.is_floating(held) and any(_too_long_for(held, text) for text in texts):
            raise Indistinguishable(reasons.NumbersTooLong(column, dataset.uri, str(kind)))
        typed = [v for text in texts if (v := as_type(text, kind, column)) is not None]
        # In some databases, a column may hold values of any type, regardless of its declaration.
        loose = [] if capabilities_of(dataset.uri).typed else list(texts)
        return [*typed, *(text for text in loose if text not in typed)]


def _form_of(place: Place) -> NormalForm | None:
    """The normal form in which spellings of a key are the same, as the place's policy declares."""
    form = NormalForm.declared(place.subject)
    return None if form is None or form.name == "exact" else form


def _is_beside(path: Path) -> bool:
    """Whether a file in a folder is known to have no rows: writers' auxiliary files, and notes."""
    name = path.name.lower()
    return name.startswith((".", "_", "readme", "license")) or name.endswith(
        (".md", ".crc", ".sha256", ".sig.json")
    )


def _is_exact(place: Place) -> bool:
    """Whether every other spelling of a key is another person's there."""
    return bool(place.subject and place.subject.get("normalize") == "exact")


def reference_of(uri: str, column: str) -> str:
    """The suppression list's name for what a foreign key refers to."""
    return json.dumps({"dataset": uri, "column": column}, sort_keys=True)


def _as_written(schema: pa.Schema, column: str, text: str) -> str:
    if column not in schema.names:
        return text
    value = as_type(text, schema.field(column).type, column)
    if value is None:
        return text
    written = canonical_text(pa.array([value], schema.field(column).type), column)[0].as_py()
    return text if written is None else str(written)


def _canonical(uri: str) -> str:
    return uri if local_path(uri) is None else open_dataset(uri).uri


def is_below(uri: str, root: str) -> bool:
    """Whether a dataset is below a folder or URI, after resolving links and encoded dots."""
    path, folder = local_path(uri), local_path(root)
    if path is not None:
        real = os.path.realpath(path)
        # A table is below the file that holds it.
        real = real if capabilities_of(uri).files else f"{real}/"
        return folder is not None and real.startswith(os.path.realpath(folder).rstrip("/") + "/")
    at, above = parts_of(uri), parts_of(root)
    if ".." in at.path.split("/") or "@" in at.authority or at.scheme != above.scheme:
        return False
    inside = f"{above.authority}{above.path}".rstrip("/") + "/"
    return f"{at.authority}{at.path}".startswith(inside)


def _too_long_for(kind: pa.DataType, text: str) -> bool:
    """Whether a whole number is one of several that a floating-point type cannot distinguish."""
    bits = {16: 11, 32: 24}.get(kind.bit_width, 53)
    return re.fullmatch(r"-?[0-9]{1,400}", text) is not None and abs(int(text)) >= 2**bits


def _number_of(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def as_type(text: str, kind: pa.DataType, column: str) -> object | None:
    """The text as a value of a column's type, if that value is written this way."""
    try:
        if pa.types.is_time(kind):
            # Arrow cannot parse times from text.
            typed = pa.array([time.fromisoformat(text)], pa.time64("us")).cast(kind)
        else:
            typed = pa.array([text], pa.string()).cast(kind)
    except (pa.ArrowException, TypeError, ValueError):
        return None
    number = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    same = canonical_bytes(typed, column).to_pylist() == [text.encode()]
    # 1.10 is how people write the number 1.1; 007 is not how they write 7.
    if not same and number and re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text):
        written = canonical_text(typed, column)[0].as_py()
        same = _number_of(written) == Decimal(text)
    value: object = typed[0].as_py()
    return value if same else None
