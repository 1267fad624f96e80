"""Finding one person's rows in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize import canonical_bytes, canonical_text, is_member, pseudonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Connections, Dataset, Found, open_dataset
from airflow_mlsec.errors import ColumnMissing, DatasetError, UsageError
from airflow_mlsec.subjects._places import Locator, Place, Places

_DEEPEST = 10


@dataclass(frozen=True)
class Person:
    """Who is looked for: the kind, and every key that the person has or had."""

    kind: str
    keys: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.keys or not all(self.keys):
            raise UsageError("the person's key is empty")
        if any("\0" in key for key in self.keys):
            raise UsageError("the person's key holds a NUL character")


@dataclass(frozen=True)
class Searcher:
    """Looks one person up. ``roots`` are the locations that lineage from others may name."""

    person: Person
    places: Places
    keys: KeyRing
    connections: Connections | None = None
    roots: tuple[str, ...] = ()
    # Texts by column that an erasure has worked out for each place, when parents were still there.
    known: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)

    def open(self, place: Place) -> Dataset:
        """The dataset of a place.

        :raises UsageError: if nothing trusted says where it is.
        """
        if place.uri is None:
            raise UsageError("the register has no URI to open it by")
        trusted = place.trusted or any(_is_below(place.uri, root) for root in self.roots)
        if not trusted:
            raise UsageError(
                "only other programs' lineage names it; list its folder in [mlsec] data_roots"
            )
        return open_dataset(place.uri, self.connections)

    def targets(self, place: Place, dataset: Dataset) -> list[tuple[str, list[object]]]:
        """Columns of a place's dataset, with the values of their type that name the person.

        :raises ColumnMissing: if a column that policy or lineage names is not there.
        """
        texts: dict[str, list[str]] = {}
        for locator in place.locators:
            texts.setdefault(locator.column, []).extend(self.texts(locator))
        for column, listed in self.known.get(str(place.id), ()):
            texts.setdefault(column, []).extend(listed)
        return [
            (column, self.typed(list(dict.fromkeys(listed)), dataset, column))
            for column, listed in texts.items()
        ]

    def rows(self, place: Place, keep: bool = True) -> Found:
        """The person's rows in a place."""
        dataset, found = self.open(place), Found()
        for column, values in self.targets(place, dataset):
            if values:
                found.add(dataset.find_in(column, values, keep))
        return found

    def text_rows(self, place: Place) -> dict[str, int]:
        """How many rows of each free-text column name one of the person's keys; a person judges."""
        if not place.free_text:
            return {}
        words = "|".join(re.escape(key) for key in self.person.keys)
        pattern = f"(?i){words}"
        counts = dict.fromkeys(place.free_text, 0)
        for batch in self.open(place).scan(list(place.free_text)):
            for name in place.free_text:
                texts = batch.column(name).cast(pa.string())
                hits = pc.sum(pc.match_substring_regex(texts, pattern)).as_py()
                counts[name] += hits or 0
        return counts

    def versions(self, locator: Locator) -> int | None:
        """How many live versions a pseudonym's key has; None of a raw value."""
        return None if locator.key is None else len(self.keys.live(locator.key))

    def membership(self, place: Place) -> tuple[bool, dict[str, Any]] | None:
        """Whether the person is on a membership list of the releases that a place was made from (or
        is), and the release that says so; None if not all of them kept one.

        A model does not forget whom a later release has left out, so every list counts.
        """
        own = self.places.releases.get(place.id)
        if place.unlisted and own is None:
            return None
        sources = (
            [own]
            if own
            else [
                self.places.releases[i] for i in sorted(place.sources) if i in self.places.releases
            ]
        )
        # A retry replaces its own list; the later statement is the one that speaks of the file.
        lists = {
            predicate["membership"]["path"]: predicate
            for source in sources
            for predicate in source
            if predicate["membership"]
        }
        if not lists or any(source[-1]["membership"] is None for source in sources):
            return None
        newest_first = list(reversed(list(lists.values())))
        for predicate in newest_first:
            kept = predicate["membership"]
            for key in self.person.keys:
                if is_member(Path(kept["path"]), kept["sha256"], self.person.kind, key, self.keys):
                    return True, predicate
        return False, newest_first[0]

    def texts(self, locator: Locator) -> list[str]:
        """The texts that stand in a locator's column for this person."""
        values = self._values_of(locator.root, 0)
        if locator.key is None:
            return values
        if not values:
            return []
        return [
            token
            for version in self.keys.live(locator.key)
            for token in pseudonymize(pa.array(values), locator.column, version.secret).to_pylist()
        ]

    def _values_of(self, root: int, depth: int) -> list[str]:
        """By which values a root names the person: the keys, or what a foreign key refers to."""
        place = self.places.by_id(root)
        references = place.subject.get("references") if place.subject else None
        if not references:
            return list(self.person.keys)
        if depth >= _DEEPEST:
            raise DatasetError(f"the foreign keys of {place.name} lead in a circle")
        parent = next(
            (p for p in self.places.all if p.uri == _canonical(references["dataset"])), None
        )
        if parent is None or parent.stage != "source" or not parent.subject:
            raise DatasetError(
                f"{place.name} refers to {references['dataset']}, of which the register has no policy "
                f"about subjects of kind '{self.person.kind}'"
            )
        dataset, key = self.open(parent), parent.subject["key"]
        typed = self.typed(self._values_of(parent.id, depth + 1), dataset, key)
        found: list[str] = []
        for batch in dataset.find_in(key, typed).batches if typed else ():
            if references["column"] not in batch.schema.names:
                raise ColumnMissing.among(
                    [references["column"]], batch.schema.names, f"of '{dataset.uri}'"
                )
            texts = canonical_text(batch.column(references["column"]), references["column"])
            found += [text for text in texts.to_pylist() if text is not None]
        return list(dict.fromkeys(found))

    def typed(self, texts: Sequence[str], dataset: Dataset, column: str) -> list[object]:
        """Texts as values of a column's type, those that can stand there.

        :raises ColumnMissing: if the dataset has no such column.
        """
        schema = dataset.schema()
        if column not in schema.names:
            raise ColumnMissing.among([column], schema.names, f"of '{dataset.uri}'")
        kind = schema.field(column).type
        typed = [v for text in texts if (v := _as_type(text, kind, column)) is not None]
        # A column of SQLite holds values of any type, whatever it is declared as.
        loose = list(texts) if dataset.uri.startswith("sqlite://") else []
        return [*typed, *(text for text in loose if text not in typed)]


def _canonical(uri: str) -> str:
    return open_dataset(uri).uri if "://" not in uri or uri.startswith("file:") else uri


def _is_below(uri: str, root: str) -> bool:
    """Whether a dataset lies below a folder or URI, links and encoded dots followed."""
    scheme, _, rest = uri.partition("://")
    path = unquote(rest)
    root_scheme, _, root_path = root.rpartition("://")
    if scheme in ("file", "sqlite"):
        if root_scheme not in ("", "file"):
            return False
        real, folder = os.path.realpath(path), os.path.realpath(unquote(root_path))
        return real.startswith(folder.rstrip("/") + "/")
    if ".." in path.split("/") or "@" in path.split("/", 1)[0]:
        return False
    return scheme == root_scheme and path.startswith(unquote(root_path).rstrip("/") + "/")


def _as_type(text: str, kind: pa.DataType, column: str) -> object | None:
    """The text as a value of a column's type, if it is how that value is written."""
    try:
        typed = pa.array([text], pa.string()).cast(kind)
    except (pa.ArrowException, TypeError):
        return None
    number = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    same = canonical_bytes(typed, column).to_pylist() == [text.encode()]
    # 1.10 is how people write the number 1.1; 007 is not how they write 7.
    same = same or (number and re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text) is not None)
    value: object = typed[0].as_py()
    return value if same else None
