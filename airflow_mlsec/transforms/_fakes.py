"""Invented values. A pool of fakes is made once, when a plan is fitted, and is stored in the plan; the
value and a key determine which of them a value gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from airflow_mlsec.codes import cmac_rows
from airflow_mlsec.errors import PolicyError, UsageError
from airflow_mlsec.values import canonical_bytes


def make_fakes(kind: str, locale: str, pool: int, key: bytes) -> tuple[str, ...]:
    """At most ``pool`` distinct fakes, as many as can be found; always the same under one key.

    :raises UsageError: if Faker is not installed.
    :raises PolicyError: if Faker does not have the locale, or the kind in it.
    """
    try:
        from faker import Faker
    except ImportError:
        raise UsageError(
            "fakes need the package Faker: pip install 'airflow-mlsec[fakes]'"
        ) from None
    try:
        faker = Faker(locale)
        make = getattr(faker, kind)
    except (AttributeError, ValueError, ImportError):
        raise PolicyError(f"Faker has no '{kind}' in locale '{locale}'") from None
    faker.seed_instance(int.from_bytes(key[:8], "big"))
    found: dict[str, None] = {}
    for _ in range(4 * pool):
        found[" ".join(str(make()).split())] = None
        if len(found) == pool:
            break
    return tuple(found)


def choose_fakes(array: pa.Array, column: str, fakes: Sequence[str], key: bytes) -> pa.Array:
    """The fake of each value. Nulls stay null."""
    values = canonical_bytes(array, column)
    tags = np.ascontiguousarray(cmac_rows(values, key)).view("<u8").reshape(-1, 2)
    place = (tags[:, 0] % np.uint64(max(1, len(fakes)))).astype(np.int64)
    missing = np.asarray(values.is_null().to_numpy(zero_copy_only=False), bool)
    return pa.array(list(fakes), pa.string()).take(pa.array(place, mask=missing))
