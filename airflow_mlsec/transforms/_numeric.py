"""Numbers and dates that stay numbers and dates: noise, shifted dates, rounding, top and bottom coding,
microaggregation. Nulls stay null.

Random numbers are derived from a key, the person and the value (AES-CMAC as a pseudorandom
function), so that a repeated run gives the same result, and noise cannot be averaged away over
releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.codes import cmac_rows
from airflow_mlsec.errors import ColumnType
from airflow_mlsec.values import canonical_bytes, is_number, simplest_between

Numbers = npt.NDArray[np.float64]

# Dates that stand for "no date": the year 9000 and later, and the earliest dates of SQL, SQL Server, spreadsheets and
# Delphi, as days since 1970. Any other old date is somebody's.
_NEVER, _MOST = 9_000, 2**63 - 1
_LONG_AGO = [
    (date(*day) - date(1970, 1, 1)).days
    for day in ((1, 1, 1), (1753, 1, 1), (1899, 12, 30), (1899, 12, 31), (1900, 1, 1))
]
_UNIT = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def shift_dates(
    array: pa.Array, column: str, people: pa.Array, by: str, days: int, key: bytes
) -> pa.Array:
    """Each date moved by its person's shift: 1 to ``days`` days, forward or back. A date of nobody
    becomes null: there are no other dates that it must keep its distance from.

    :raises ColumnType: if the values are no dates or timestamps.
    """
    kind = array.type
    if pa.types.is_null(kind):
        return array
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        raise ColumnType.unusable(column, kind, "a date or timestamp", "shift_date")
    drawn = _drawn(canonical_bytes(people, by), key)[:, 0]
    shift = (drawn % np.uint64(2 * days)).astype(np.int64) - days
    shift += shift >= 0
    if pa.types.is_date32(kind):
        plain, width, unit = array.cast(pa.int32()).cast(pa.int64()), pa.int32(), 1
    elif pa.types.is_date64(kind):
        plain, width, unit = array.cast(pa.int64()), pa.int64(), _UNIT["ms"]
    else:
        plain, width, unit = array.cast(pa.int64()), pa.int64(), _UNIT[kind.unit]
    # A date that stands for "never" is the same for everybody; moving it would reveal the shift of the other dates.
    local = array
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        local = pc.local_timestamp(array)
    first = [day * unit for day in _LONG_AGO if abs(day * unit) <= _MOST]
    long_ago = pc.is_in(local.cast(width).cast(pa.int64()), pa.array(first, pa.int64()))
    never = pc.or_(pc.greater_equal(pc.year(local), _NEVER), long_ago)
    if unit > _UNIT["us"]:
        never = pc.or_(never, pc.greater_equal(pc.abs(plain), _MOST - 2 * days * unit))
    moved = pc.add(plain, pa.array(shift * unit)).cast(width).cast(kind)
    moved = pc.if_else(never, array, moved)
    return pc.if_else(people.is_valid(), moved, pa.scalar(None, kind))


def add_noise(
    array: pa.Array,
    column: str,
    people: pa.Array,
    by: str,
    action: Any,
    key: bytes,
) -> pa.Array:
    """Numbers with noise of the ``distribution`` and ``scale`` that ``action`` names, kept between its
    ``minimum`` and ``maximum``; ``people`` says whose each value is.

    :raises ColumnType: if the values are no numbers.
    """
    kind = array.type
    numbers = _numbers(array, column, "noise")
    # Specific to one column, scale and distribution: two noises of one value that differ only by a
    # factor would reveal the value.
    how = f"{column}\0{action['distribution']}\0{action['scale']!r}".encode()
    parts = [canonical_bytes(people, by), canonical_bytes(array, column)]
    seed = pc.binary_join_element_wise(
        pa.scalar(how, pa.large_binary()),
        *(part.fill_null(b"") for part in parts),
        pa.scalar(b"\0", pa.large_binary()),
    )
    drawn = _drawn(seed, key)
    # 53 bits, in the middle of their interval: never 0, never 1.
    first, second = (
        ((drawn[:, i] >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53 for i in (0, 1)
    )
    scale = float(action["scale"])
    if action["distribution"] == "uniform":
        noise = (2 * first - 1) * scale
    elif action["distribution"] == "laplace":
        centred = first - 0.5
        noise = -scale * np.sign(centred) * np.log1p(-2 * np.abs(centred))
    else:
        # Box and Muller (1958).
        noise = scale * np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
    low = -np.inf if action["minimum"] is None else action["minimum"]
    high = np.inf if action["maximum"] is None else action["maximum"]
    if pa.types.is_integer(kind):
        # Whole numbers stay within the limits: rounding must not move them outside.
        return _like(np.clip(np.round(numbers + noise), np.ceil(low), np.floor(high)), array, True)
    return _like(np.clip(numbers + noise, low, high), array, False)


def top_bottom(array: pa.Array, column: str, bottom: float | None, top: float | None) -> pa.Array:
    """Numbers below ``bottom`` as ``bottom``, above ``top`` as ``top``.

    :raises ColumnType: if the values are no numbers.
    """
    numbers = _numbers(array, column, "top_bottom_coding")
    if _fits(array) and all(v is None or v == int(v) for v in (bottom, top)):
        found = array.cast(pa.int64())
        if bottom is not None:
            found = pc.max_element_wise(found, int(bottom), skip_nulls=False)
        return found if top is None else pc.min_element_wise(found, int(top), skip_nulls=False)
    limits = [limit for limit in (bottom, top) if limit is not None]
    low = -np.inf if bottom is None else bottom
    found = np.clip(numbers, low, np.inf if top is None else top)
    whole = pa.types.is_integer(array.type) and all(limit == int(limit) for limit in limits)
    return _like(found, array, whole)


def _fits(array: pa.Array) -> bool:
    """Whether values are whole numbers that can be computed with as they are."""
    if not pa.types.is_integer(array.type):
        return False
    return not pa.types.is_uint64(array.type) or (pc.max(array).as_py() or 0) < 2**63


def round_to(array: pa.Array, column: str, to: float) -> pa.Array:
    """Numbers as the nearest multiple of ``to``.

    :raises ColumnType: if the values are no numbers.
    """
    numbers = _numbers(array, column, "round")
    if _fits(array) and to == int(to):
        plain = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        steps, left = np.divmod(plain, int(to))
        # Halfway cases go to the even multiple, as for floats.
        up = (2 * left > int(to)) | ((2 * left == int(to)) & (steps % 2 == 1))
        return _masked(pa.array((steps + up) * int(to)), array)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.round(numbers / to)
        # Dividing by a whole number (100) is exact; multiplying by 0.01 is not.
        found = steps / (1 / to) if to < 1 and abs(1 / to - round(1 / to)) < 1e-9 else steps * to
    return _like(found, array, False)


@dataclass(frozen=True)
class Groups:
    """Groups of neighbouring values: the lower border of each (except the first), and its mean."""

    borders: tuple[float, ...]
    means: tuple[float, ...]


def fit_groups(
    values: pa.Array,
    counts: npt.NDArray[np.int64],
    column: str,
    k: int,
    persons: npt.NDArray[np.float64] | None = None,
) -> Groups:
    """The groups of at least ``k`` rows whose values are nearest to their means: the shortest path
    through the sorted values (Hansen and Mukherjee, "A Polynomial Algorithm for Optimal
    Univariate Microaggregation", IEEE TKDE 2003). Rows of one value stay together. With fewer
    than ``k`` rows in total there is no group: their mean would reveal too much.

    :param persons: Upper bounds of how many persons have each value, if some have several rows; ``k`` then counts them.

    :raises ColumnType: if the values are no numbers.
    """
    numbers = _numbers(values, column, "microaggregate")
    good = np.isfinite(numbers) & np.asarray(values.is_valid().to_numpy(zero_copy_only=False), bool)
    known, place = np.unique(numbers[good], return_inverse=True)
    if not len(known):
        return Groups((), ())
    rows = np.bincount(place, counts[good], len(known))
    sizes = rows if persons is None else np.bincount(place, persons[good], len(known))
    if sizes.sum() < k:
        return Groups((), ())
    # Sums of deviations from the mean, so that squares of large values do not lose precision.
    centre = float((known * rows).sum() / rows.sum())
    away = known - centre
    totals = [
        np.concatenate([[0.0], np.cumsum(part)]) for part in (rows, rows * away, rows * away**2)
    ]
    reached = totals[0] if persons is None else np.concatenate([[0.0], np.cumsum(sizes)])
    of_rows, of_sums, of_squares = (part.tolist() for part in totals)
    ends = _shortest(of_rows, of_sums, of_squares, reached.tolist(), k)
    starts = [0, *ends[:-1]]
    means = [
        centre + (totals[1][end] - totals[1][start]) / (totals[0][end] - totals[0][start])
        for start, end in zip(starts, ends, strict=True)
    ]
    inner = [simplest_between(known[start - 1], known[start]) for start in starts[1:]]
    return Groups(tuple(map(float, inner)), tuple(map(float, means)))


def _shortest(
    rows: list[float], sums: list[float], squares: list[float], sizes: list[float], k: int
) -> list[int]:
    """The ends of the groups with the least squared distance, given running totals; ``sizes`` must reach ``k``."""
    number = len(rows) - 1
    best, before = [0.0] + [float("inf")] * number, [0] * (number + 1)
    low = last = 0
    for end in range(1, number + 1):
        # A group that can be split into two is never better than the two.
        while sizes[end] - sizes[last + 1] >= k:
            last += 1
        while sizes[last] - sizes[low] >= k:
            low += 1
        for start in range(low, end):
            if sizes[end] - sizes[start] < k:
                break
            weight = rows[end] - rows[start]
            total = sums[end] - sums[start]
            cost = best[start] + squares[end] - squares[start] - total * total / weight
            if cost < best[end]:
                best[end], before[end] = cost, start
    if best[number] == float("inf"):
        return [number]
    ends = [number]
    while before[ends[-1]]:
        ends.append(before[ends[-1]])
    return ends[::-1]


def microaggregate(
    array: pa.Array, column: str, borders: Sequence[float], means: Sequence[float]
) -> pa.Array:
    """Each number as the mean of its group; what is not finite becomes null.

    :raises ColumnType: if the values are no numbers.
    """
    numbers = _numbers(array, column, "microaggregate")
    if not len(means):
        return pa.nulls(len(array), pa.float64())
    group = np.searchsorted(np.array(borders), np.nan_to_num(numbers), side="right")
    found = np.where(np.isfinite(numbers), np.array(means)[group], np.nan)
    return pc.if_else(
        pa.array(np.isfinite(found)) if len(found) else array.is_valid(),
        _like(found, array, False),
        pa.scalar(None, pa.float64()),
    )


def _numbers(array: pa.Array, column: str, purpose: str) -> Numbers:
    if pa.types.is_null(array.type):
        return np.zeros(len(array))
    if not is_number(array.type):
        raise ColumnType.unusable(column, array.type, "a number", purpose)
    plain = array.cast(pa.float64(), safe=False).fill_null(0.0)
    found: Numbers = plain.to_numpy(zero_copy_only=False)
    return found


def _like(found: Numbers, array: pa.Array, whole: bool) -> pa.Array:
    """Numbers as integers or in double precision; null where ``array`` is null."""
    if whole:
        limits = np.iinfo(np.int64)
        clipped = np.clip(np.round(found), float(limits.min), float(2**63 - 1024))
        made = pa.array(clipped.astype(np.int64))
    else:
        made = pa.array(found)
    return _masked(made, array)


def _masked(made: pa.Array, array: pa.Array) -> pa.Array:
    if array.null_count == 0:
        return made
    return pc.if_else(array.is_valid(), made, pa.scalar(None, made.type))


def _drawn(seeds: pa.Array, key: bytes) -> npt.NDArray[np.uint64]:
    """Two pseudorandom 64-bit numbers for each seed."""
    tags = np.ascontiguousarray(cmac_rows(seeds, key))
    return tags.view("<u8").reshape(len(tags), 2)
