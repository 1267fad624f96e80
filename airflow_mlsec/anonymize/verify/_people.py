"""The independent checker's part for persons: how many different ones does each class have?

Rows are counted elsewhere; here pairs of a class and a person, both as 64-bit hashes, are kept and
counted. Two persons whose hashes are the same by chance would count as one, which errs on the
safe side.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

_NOBODY = "without a key"


class PeopleCounter:
    """Counts the persons of each class. ``quasi`` are the columns that make up a class."""

    def __init__(self, quasi: Sequence[str]) -> None:
        self._quasi = list(quasi)
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET temp_directory = ''")
        self._connection.execute("CREATE TABLE pairs (class UBIGINT, person UBIGINT)")
        self.rows = 0

    def add(self, batch: pa.RecordBatch, keys: pa.Array) -> None:
        """Add released rows, and whose each is."""
        if not batch.num_rows:
            return
        names = [f"c{i}" for i in range(len(self._quasi))]
        columns = [batch.column(name) for name in self._quasi]
        given = pa.table([*columns, _normal(keys)], names=[*names, "person"])
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

    @staticmethod
    def _class(names: list[str]) -> str:
        return f"hash({', '.join(names)})" if names else "0"


def _normal(keys: pa.Array) -> pa.Array:
    """The checker's own normal form: spellings of one key, and keys that are blank, are one person's."""
    if not pa.types.is_string(keys.type) and not pa.types.is_large_string(keys.type):
        return keys.cast(pa.string()) if not pa.types.is_binary(keys.type) else keys
    text = pc.utf8_lower(pc.utf8_normalize(keys, form="NFKC"))
    text = pc.utf8_trim_whitespace(pc.replace_substring(text, "\u00df", "ss"))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)
