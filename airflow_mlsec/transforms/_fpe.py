"""Format-preserving encryption of text: card numbers stay card numbers, but nobody's.

Characters of the alphabet are encrypted with FF1. All others (spaces, dashes) stay where they are,
and so do the first and last characters that are kept. The kept characters are the tweak, so that
equal digits in two card numbers are encrypted differently. With ``luhn`` the result passes the Luhn
check (ISO/IEC 7812-1) as the value did: it is encrypted again until it does, which is still one to
one (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.transforms._ff1 import SMALLEST_DOMAIN, ff1
from airflow_mlsec.values import canonical_text

ALPHABETS = {
    "digits": "0123456789",
    "lower": "abcdefghijklmnopqrstuvwxyz",
    "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "alphanumeric": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "hex": "0123456789abcdef",
}
_ROWS = 65_536
_MOST_WALKS = 2_000


@dataclass(frozen=True)
class Format:
    """The encrypted part of a value: the characters of ``alphabet`` that are not kept."""

    alphabet: str = ALPHABETS["digits"]
    keep_first: int = 0
    keep_last: int = 0
    luhn: bool = False

    @property
    def shortest(self) -> int:
        """How many characters must be left to encrypt."""
        needed = SMALLEST_DOMAIN * (10 if self.luhn else 1)
        length = 1
        while len(self.alphabet) ** length < needed:
            length += 1
        return length


def format_of(action: Mapping[str, Any]) -> Format:
    """The format that a policy's or plan's ``fpe`` describes."""
    alphabet = str(action["alphabet"])
    return Format(
        ALPHABETS.get(alphabet, alphabet),
        action["keep_first"],
        action["keep_last"],
        action["luhn"],
    )


def encrypt_format(
    array: pa.Array, column: str, key: bytes, how: Format, decrypt: bool = False
) -> pa.Array:
    """Each value's text, encrypted in its format (or decrypted). Nulls stay null.

    :raises GuaranteeNotMet: if a value leaves too few characters to encrypt, or fails the Luhn
        check where it is to be kept.
    """
    text = canonical_text(array, column)
    parts = [
        _encrypt(text.slice(start, _ROWS), start, column, key, how, decrypt)
        for start in range(0, len(text), _ROWS)
    ]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def _encrypt(
    text: pa.Array, offset: int, column: str, key: bytes, how: Format, decrypt: bool
) -> pa.Array:
    valid = np.asarray(text.is_valid().to_numpy(zero_copy_only=False), bool)
    plain = pc.fill_null(text, "").to_numpy(zero_copy_only=False)
    width = max(1, int(pc.max(pc.utf8_length(text)).as_py() or 1))
    points = np.array(plain, f"<U{width}").view(np.uint32).reshape(len(text), width)
    symbols, order = _symbols(how.alphabet)
    where = np.searchsorted(symbols, points)
    found = np.minimum(where, len(symbols) - 1)
    in_alphabet = symbols[found] == points
    rank = np.cumsum(in_alphabet, axis=1)
    number = rank[:, -1]
    free = in_alphabet & (rank > how.keep_first) & (rank <= (number - how.keep_last)[:, None])
    lengths = free.sum(1)
    _check_lengths(lengths, valid, offset, column, how)
    numerals = order[found]
    if how.luhn:
        _check_luhn(numerals, in_alphabet, valid, offset, column)
    result = points.copy()
    letters = np.array([ord(c) for c in how.alphabet], np.uint32)
    for length in np.unique(lengths[valid]).tolist():
        rows = np.flatnonzero((lengths == length) & valid)
        places = np.argsort(~free[rows], axis=1, kind="stable")[:, :length]
        kept = np.argsort(~(in_alphabet & ~free)[rows], axis=1, kind="stable")
        kept = kept[:, : how.keep_first + how.keep_last]
        own = numerals[rows]
        tweaks = np.take_along_axis(own, kept, 1).astype(np.uint8)
        work = _Walk(own, places, in_alphabet[rows], tweaks, key, how, decrypt)
        made = result[rows]
        np.put_along_axis(made, places, letters[work.run()], 1)
        result[rows] = made
    made_text = result.view(f"<U{width}").ravel()
    return pa.array(made_text.tolist() if len(made_text) else [], pa.string(), mask=~valid)


class _Walk:
    """Encrypts rows of one length, repeatedly where the Luhn check has to pass."""

    def __init__(
        self, numerals: Any, places: Any, counted: Any, tweaks: Any, key: bytes, how: Format, decrypt: bool
    ) -> None:  # fmt: skip
        self._numerals, self._places, self._counted = numerals, places, counted
        self._tweaks, self._key, self._how, self._decrypt = tweaks, key, how, decrypt

    def run(self) -> npt.NDArray[np.int64]:
        """The new numerals of the places that are encrypted."""
        found = np.take_along_axis(self._numerals, self._places, 1).astype(np.int64)
        left = np.arange(len(found))
        for _ in range(_MOST_WALKS if self._how.luhn else 1):
            found[left] = ff1(
                found[left], self._tweaks[left], len(self._how.alphabet), self._key, self._decrypt
            )
            if not self._how.luhn:
                break
            whole = self._numerals[left].copy()
            np.put_along_axis(whole, self._places[left], found[left], 1)
            left = left[~passes_luhn(whole, self._counted[left])]
            if not len(left):
                break
        return found


def passes_luhn(numerals: Any, counted: Any) -> Any:
    """Whether each row's counted digits pass the Luhn check."""
    from_right = np.cumsum(counted[:, ::-1], axis=1)[:, ::-1]
    doubled = numerals * 2
    doubled -= 9 * (doubled > 9)
    digits = np.where(from_right % 2 == 0, doubled, numerals)
    return np.where(counted, digits, 0).sum(1) % 10 == 0


def _symbols(alphabet: str) -> tuple[Any, Any]:
    """The alphabet's code points in their order, and the numeral of each."""
    points = np.array([ord(character) for character in alphabet], np.uint32)
    order = np.argsort(points)
    return points[order], order.astype(np.int64)


def _check_lengths(lengths: Any, valid: Any, offset: int, column: str, how: Format) -> None:
    short = (lengths < how.shortest) & valid
    if short.any():
        raise GuaranteeNotMet(
            f"column '{column}': {int(short.sum())} values leave fewer than {how.shortest} characters of "
            f"their alphabet to encrypt (the first is row {offset + int(np.argmax(short)) + 1} of its "
            "batch): a smaller domain could be searched exhaustively (NIST SP 800-38G). Keep fewer characters, or use "
            "pseudonymize or vault"
        )


def _check_luhn(numerals: Any, counted: Any, valid: Any, offset: int, column: str) -> None:
    wrong = ~passes_luhn(numerals, counted) & valid
    if wrong.any():
        raise GuaranteeNotMet(
            f"column '{column}': {int(wrong.sum())} values fail the Luhn check (the first is row "
            f"{offset + int(np.argmax(wrong)) + 1} of its batch), so decryption could not restore them; correct them, or "
            "leave `luhn` out"
        )
