"""The independent checker's part for persons: how many different ones does each class have?

Rows are counted elsewhere; here pairs of a class and a person, both as 64-bit hashes, are kept and
counted. Two persons whose hashes are the same by chance would count as one, which errs on the
safe side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.policy import Subject

_NOBODY = "without a key"


class PeopleCounter:
    """Counts the persons of each class. ``quasi`` are the columns that make up a class; ``subject`` says how
    persons are named, where the keys are the raw ones."""

    def __init__(self, quasi: Sequence[str], subject: Subject | None = None) -> None:
        self.quasi = list(quasi)
        self._subject = subject
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET temp_directory = ''")
        self._connection.execute("CREATE TABLE pairs (class UBIGINT, person UBIGINT)")
        self.rows = 0

    def add(self, batch: pa.RecordBatch, keys: pa.Array) -> None:
        """Add released rows, and whose each is."""
        if not batch.num_rows:
            return
        names = [f"c{i}" for i in range(len(self.quasi))]
        columns = [batch.column(name) for name in self.quasi]
        given = pa.table([*columns, self._persons(keys)], names=[*names, "person"])
        self._connection.register("given", given)
        person = f"coalesce(person, '{_NOBODY}')"
        self._connection.execute(
            f"INSERT INTO pairs SELECT {self._class(names)}, hash({person}) FROM given"  # noqa: S608
        )
        self._connection.unregister("given")
        self.rows += batch.num_rows

    def fewest(self) -> tuple[int | None, int]:
        """The fewest persons of a class (None without rows), and the persons in all."""
        query = "SELECT min(n) FROM (SELECT count(DISTINCT person) AS n FROM pairs GROUP BY class)"
        [(least,)] = self._connection.execute(query).fetchall()
        everybody = "SELECT count(DISTINCT person) FROM pairs"
        [(persons,)] = self._connection.execute(everybody).fetchall()
        return (None if least is None else int(least)), int(persons)

    def _persons(self, keys: pa.Array) -> pa.Array:
        return person_of(keys, self._subject)

    @staticmethod
    def _class(names: list[str]) -> str:
        return f"hash({', '.join(names)})" if names else "0"


def person_of(keys: pa.Array, subject: Subject | None) -> pa.Array:
    """Whose each row is: the same for all spellings of one person's key, null for nobody's."""
    found = _normal(keys)
    return found if subject is None else _declared(found, subject)


def _normal(keys: pa.Array) -> pa.Array:
    """The checker's own normal form: spellings of one key, and keys that are blank, are one person's."""
    if pa.types.is_floating(keys.type):
        keys = pc.add(keys, pa.scalar(0.0, keys.type))  # -0.0 is 0.0
    if not pa.types.is_string(keys.type) and not pa.types.is_large_string(keys.type):
        return keys.cast(pa.string()) if not pa.types.is_binary(keys.type) else keys
    text = pc.utf8_lower(pc.utf8_normalize(keys, form="NFKC"))
    for written, same in (("\u00df", "ss"), ("\u03c2", "\u03c3"), ("i\u0307", "i")):
        text = pc.replace_substring(text, written, same)
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)


def _declared(keys: pa.Array, subject: Subject) -> pa.Array:
    """Keys that the policy declares to be one person's made one, by the checker's own reading of it."""
    if pa.types.is_binary(keys.type):
        return keys
    match subject.normalize:
        case "number":
            bare = [None if key is None else key.lstrip("0") or "0" for key in keys.to_pylist()]
            return pa.array(bare, keys.type)
        case "email_without_tag":
            return pa.array(map(_without_tag, keys.to_pylist()), keys.type)
        case "phone":
            known: dict[str | None, str | None] = {None: None}
            for key in keys.to_pylist():
                if key not in known:
                    known[key] = _dialled(key, subject.region)
            return pa.array([known[key] for key in keys.to_pylist()], keys.type)
    return keys


def _without_tag(key: str | None) -> str | None:
    if key is None or "@" not in key:
        return key
    local, at = key.split("@", 1)
    name = local.split("+", 1)[0]
    return f"{name or local}@{at}"


def _dialled(key: str, region: str | None) -> str:
    """The digits that reach a telephone from abroad; what is no number stays."""
    key = re.sub("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]", "-", key)
    if re.search(r"[^0-9+\s()/.:tel-]", key):
        return key
    text = key.strip().removeprefix("tel:")
    text = f"+{text[2:]}" if text.startswith("00") else text
    digits = re.sub("[^0-9]", "", text)
    # No zero after the country's code, which has up to three digits: there is nothing to be told.
    if text.startswith("+") and "0" not in digits[1:4]:
        return f"+{digits}"
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return digits or key
    zeros = "0" * (number.number_of_leading_zeros or 1) if number.italian_leading_zero else ""
    found = f"+{number.country_code}{zeros}{number.national_number}"
    return found if found == text else _dialled(found, region)
