"""What a scan searches for, in values and in bytes.

A person's keys in every plausible spelling, the values by which foreign keys know the person, the person's
pseudonyms under every version of every key, random codes, and the common unkeyed hashes of the keys. A match is
a likeness, not a proof: a person confirms it before anything is done with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, quote_plus

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize import NormalForm, canonical_text
from airflow_mlsec.errors import UnsupportedDataset
from airflow_mlsec.ledger import Reason
from airflow_mlsec.subjects._spellings import alike, fold, folded
from airflow_mlsec.subjects.search import _reasons as reasons

Mask = npt.NDArray[np.bool_]

# A shorter text occurs in many values by chance; between these lengths, only whole values count.
SHORTEST, SHORTEST_PART = 4, 6
# A number with fewer digits may be an amount, a year or somebody else's number.
SHORTEST_NUMBER = 7
# Hashes and pseudonyms in hexadecimal digits are never shorter.
SHORTEST_HASH = 32
_HEXADECIMAL = np.zeros(256, np.int8)
_HEXADECIMAL[list(b"0123456789abcdefABCDEF")] = 1
_HASHES = ("md5", "sha1", "sha256", "sha512")
_NAMES = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}
# Escapes of JSON, URLs and mails directly before a text, which are not part of it.
_ESCAPE = re.compile(rb"(?:\\[nrtbf]|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|%[0-9a-f]{2}|=[0-9a-f]{2})\Z")
_ESCAPED = r"\\[nrtbf]|\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}|=[0-9a-fA-F]{2}"
_ESCAPED_DIGITS = 4
# How many values are classified individually; further ones are only counted.
_NAMED = 1_000


@dataclass(frozen=True)
class Hit:
    """Rows of one column (or positions in bytes, if ``column`` is None) with something like the
    person; ``whole`` if it is the whole value and not a part of a longer text."""

    column: str | None
    rows: int
    kinds: tuple[Reason, ...]
    whole: bool
    # The column's own name, which may be a value.
    name: str | None = field(default=None, repr=False)

    def described(self) -> Reason:
        """The hit as a reason that people can read."""
        if self.column is None:
            return reasons.HitTimes(self.kinds, self.rows)
        if not self.rows:
            return reasons.HitOfColumn(self.kinds, self.column)
        return reasons.HitInColumn(self.kinds, self.column, self.rows, not self.whole)


def in_order(kinds: Iterable[Reason]) -> tuple[Reason, ...]:
    """What was found, sorted by its words."""
    return tuple(sorted(kinds, key=lambda kind: str(kind.words())))


def are_sure(kinds: Iterable[Reason]) -> bool:
    """Whether any of these is the key itself, or a pseudonym or code of it: nobody else has the same."""
    return any(isinstance(kind, _SURE) for kind in kinds)


_SURE = (reasons.TheKey, reasons.PseudonymOfKey, reasons.CodeOfKey, reasons.WorkedOut)


@dataclass(frozen=True)
class Needles:
    """Texts to search for, each with its kind.

    ``hashes`` are in hexadecimal digits, ``digests`` are the same as bytes.
    """

    texts: Mapping[str, Reason]
    hashes: Mapping[str, Reason]
    digests: Mapping[bytes, Reason]
    # Why some of the keys, and some values of foreign keys, cannot be searched for, without naming them.
    unscanned: tuple[Reason, ...]
    passed_over: tuple[Reason, ...]
    keys: frozenset[str]
    # The texts before folding.
    written: tuple[str, ...]
    # Hashes and pseudonyms of the keys themselves, not of other spellings.
    own_hashes: frozenset[str]
    # The normal forms in which spellings of a key are the same.
    forms: tuple[NormalForm, ...] = ()
    # By foreign-key column name (in lower case), the values by which the person is known there: too short to be
    # searched for anywhere else.
    by_column: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        keys: Iterable[str],
        others: Iterable[str],
        referred: Iterable[str],
        pseudonyms: Mapping[str, Reason],
        forms: Iterable[NormalForm] = (),
        exact: bool = False,
        by_column: Mapping[str, Iterable[str]] = MappingProxyType({}),
    ) -> Needles:
        """What to search for, for a person with these keys.

        :param others: Other spellings of the keys.
        :param referred: Values by which foreign keys know the person.
        :param pseudonyms: Pseudonyms and codes, each with its kind.
        :param forms: Normal forms in which spellings of the keys are the same.
        :param exact: Whether every other spelling of a key is another person's, wherever people are named.
        :param by_column: By column name, the values by which foreign keys of that name know the person.
        """
        texts: dict[str, Reason] = {}
        hashes = {text.lower(): what for text, what in pseudonyms.items() if is_hash(text)}
        texts |= {folded(text): what for text, what in pseudonyms.items() if not is_hash(text)}
        digests: dict[bytes, Reason] = {}
        unscanned: dict[Reason, None] = {}
        passed_over: dict[Reason, None] = {}
        own = list(keys)
        spelled = [*own, *others]
        written: dict[str, None] = {}
        own_hashes = set(hashes)
        for text in (*spelled, *referred):
            what: Reason = reasons.TheKey() if text in own else reasons.SpelledOtherwise()
            if text not in spelled:
                what = reasons.ReferredTo()
            if reason := not_distinctive(text):
                if text in own:
                    unscanned[reason] = None
                elif text not in spelled:
                    passed_over[reason] = None
            else:
                for form in _escaped(text):
                    texts.setdefault(folded(form), what)
                    written[form] = None
            if text not in spelled:
                continue
            for form in dict.fromkeys((text, text.strip(), text.lower(), text.strip().lower())):
                spelled_so = form != text and text in own
                for name in _HASHES:
                    digest = hashlib.new(name, form.encode(), usedforsecurity=False).digest()
                    said = reasons.HashOfKey(_NAMES[name], text not in own, spelled_so)
                    hashes.setdefault(digest.hex(), said)
                    digests.setdefault(digest, said)
                    if text in own and (form == text or not exact):
                        own_hashes.add(digest.hex())
            if number := _uuid(text):
                digests.setdefault(number.bytes, reasons.TheKey())
                digests.setdefault(number.bytes_le, reasons.TheKey())
                hashes.setdefault(number.hex, reasons.TheKey())
                texts.setdefault(folded(str(number)), reasons.TheKey())
                written[str(number)] = None
        told = tuple(unscanned), tuple(passed_over)
        return cls(
            texts,
            hashes,
            digests,
            *told,
            frozenset(own),
            tuple(written),
            frozenset(own_hashes),
            tuple(forms),
            {
                name.casefold(): frozenset(form for text in texts for form in (text, f"{text}.0"))
                for name, texts in by_column.items()
            },
        )

    def values_in(self, array: pa.Array, column: str) -> list[str]:
        """The distinct values of a column, as text, that are a key as it was given, a hash of it or a pseudonym.
        Other spellings may be other people's; they have to be confirmed as keys."""
        text = canonical_text(array, column).cast(pa.large_string()).unique().drop_null()
        mask = _Look(self, column).whole_values(text)
        found: list[str] = text.filter(pa.array(mask)).to_pylist()
        mine = [value for value in found if value in self.keys or value.lower() in self.own_hashes]
        called = self.by_column.get(column.casefold(), frozenset())
        return [*mine, *(v for v in text.to_pylist() if v in called and v not in mine)]

    def called_in(self, array: pa.Array, column: str) -> int:
        """How many rows of a column with a foreign key's name have a value by which foreign keys know the person."""
        called = self.by_column.get(column.casefold())
        plain = _plain(array)
        if not called or pa.types.is_nested(plain.type) or _is_bytes(plain.type):
            return 0
        text = canonical_text(plain, column).cast(pa.large_string())
        return int(_mask(pc.is_in(text, pa.array(sorted(called), pa.large_string()))).sum())

    def in_batch(self, batch: pa.RecordBatch, unread: list[Reason] | None = None) -> list[Hit]:
        """The columns of a batch that hold a needle, in their values or as their name. Columns whose type
        cannot be searched are reported in ``unread``.

        :raises UnsupportedDataset: if there is such a column and ``unread`` is not given.
        """
        found = []
        for number, (name, column) in enumerate(
            zip(batch.schema.names, batch.columns, strict=True), 1
        ):
            looked = _Look(self, name)
            shown = self.shown_column(name, number)
            if self.without(name) != name:
                found.append(Hit(shown, 0, (reasons.KeyAsColumnName(),), False))
            try:
                rows = int(looked.rows(column).sum())
            except UnsupportedDataset:
                if unread is None:
                    raise
                unread.append(reasons.ColumnNotLookedInto(number))
                continue
            if rows:
                found.append(Hit(shown, rows, in_order(looked.kinds), looked.whole, name))
                continue
            if called := self.called_in(column, name):
                found.append(Hit(shown, called, (reasons.ReferredTo(),), True, name))
                continue
            # Values of a dictionary (pandas' categories) remain when no row has them any more.
            if any(looked.rows(values).any() for values in _dictionaries(column)):
                found.append(Hit(shown, 0, (reasons.KeyAmongCategories(),), False))
        return found

    def shown_column(self, name: str, number: int) -> str:
        """A column's name in a form that may be shown: a name that looks like a value (a CSV without a header has
        values there) is replaced by its number."""
        plain = re.fullmatch(r"[^\W\d][\w.\[\]-]{0,62}", name) is not None
        return name if plain and self.without(name) == name else f"#{number}"

    def in_chunks(self, chunks: Iterable[bytes]) -> Iterator[Hit]:
        """The needles in a stream of bytes."""
        before = b""
        for chunk in chunks:
            block = before + chunk
            counts: dict[Reason, int] = {}
            for start, end in (*self._texts_in(block), *self._hashes_in(block)):
                if end > len(before):  # otherwise it was counted with the previous chunk
                    what = self.named(block[start:end].decode("utf-8", "replace"))
                    counts[what] = counts.get(what, 0) + 1
            for what, times in counts.items():
                yield Hit(None, times, (what,), False)
            before = block[-_OVERLAP:]

    def without(self, text: str) -> str:
        """A text with all needles redacted."""
        raw = text.encode("utf-8", "replace")
        for start, end in sorted((*self._texts_in(raw), *self._hashes_in(raw)), reverse=True):
            raw = raw[:start] + b"[key]" + raw[end:]
        return raw.decode("utf-8", "replace")

    def within(self, text: str) -> list[Reason]:
        """The kinds of the needles in a longer text."""
        raw = text.encode("utf-8", "replace")
        places = (*self._texts_in(raw), *self._hashes_in(raw))
        return [self.named(raw[start:end].decode("utf-8", "replace")) for start, end in places]

    def _texts_in(self, block: bytes) -> Iterator[tuple[int, int]]:
        """The positions of texts, in any letter case, with no letter or digit directly before or after, unless
        it is part of an escape."""
        lower = block.lower()
        taken: set[int] = set()
        for raw in self._written:
            at = lower.find(raw)
            while at >= 0:
                end = at + len(raw)
                joined = lower[at - 1 : at].isalnum() and not _ESCAPE.search(
                    lower[max(0, at - 6) : at]
                )
                if not joined and not lower[end : end + 1].isalnum() and end not in taken:
                    taken.add(end)
                    yield at, end
                at = lower.find(raw, at + 1)
        for pattern in self.patterns:
            for match in re.finditer(pattern.encode(), block, re.IGNORECASE):
                apart = not block[match.start() - 1 : match.start()].isalnum()
                if (
                    apart
                    and not block[match.end() : match.end() + 1].isalnum()
                    and match.end() not in taken
                ):
                    taken.add(match.end())
                    yield match.start(), match.end()

    def _hashes_in(self, block: bytes) -> Iterator[tuple[int, int]]:
        """The positions of hashes: runs of hexadecimal digits, looked up all at once. An escape before a hash makes
        the run longer."""
        if not self.hashes or len(block) < SHORTEST_HASH:
            return
        digit = np.zeros(len(block) + 2, np.int8)
        digit[1:-1] = _HEXADECIMAL[np.frombuffer(block, np.uint8)]
        step = np.diff(digit)
        starts, ends = np.flatnonzero(step == 1), np.flatnonzero(step == -1)
        lower = np.frombuffer(block.lower(), np.uint8)
        for length, wanted in self._by_length.items():
            longer = (ends - starts >= length) & (ends - starts <= length + _ESCAPED_DIGITS)
            mine = ends[longer] - length
            if not len(mine):
                continue
            runs = np.ascontiguousarray(lower[mine[:, None] + np.arange(length)])
            values = pa.Array.from_buffers(pa.binary(length), len(mine), [None, pa.py_buffer(runs)])
            found = _mask(pc.is_in(values, wanted))
            for start, begun in zip(mine[found], starts[longer][found], strict=True):
                before = block[max(0, int(start) - 6) : int(start)].lower()
                if start == begun or _ESCAPE.search(before):
                    yield int(start), int(start) + length

    def has_hash(self, text: str) -> bool:
        """Whether a longer text contains a hash."""
        return any(True for _ in self._hashes_in(text.encode("utf-8", "replace")))

    @cached_property
    def patterns(self) -> list[str]:
        """Regular expressions for the spellings of keys in forms with too many to list."""
        found = [*self.phones]
        for form in self.forms:
            for key in sorted(self.keys):
                same = form.of_text(key)
                if not not_distinctive(same):
                    found += _spellings_in(form, same)
        return list(dict.fromkeys(found))

    @cached_property
    def phones(self) -> list[str]:
        """Regular expressions for international telephone numbers, in any grouping."""
        found = []
        for text in _phones(self):
            digits = re.sub(r"\D", "", text)
            digits = digits[2:] if text.startswith("00") else digits
            found.append(r"(?:\+|00)[\s(]{0,2}" + r"[\s()/.-]{0,3}".join(digits))
        return list(dict.fromkeys(found))

    @cached_property
    def _by_length(self) -> dict[int, pa.Array]:
        found: dict[int, list[bytes]] = {}
        for text in self.hashes:
            found.setdefault(len(text), []).append(text.encode())
        return {length: pa.array(listed, pa.binary(length)) for length, listed in found.items()}

    @cached_property
    def _written(self) -> list[bytes]:
        """Texts as programs write them: composed and decomposed, in UTF-8 and in an eight-bit encoding. The
        longest come first."""
        found: dict[bytes, None] = {}
        for text in dict.fromkeys((*self.texts, *self.written)):
            for form in _forms(text):
                cased = (form,) if form.isascii() else (form, form.upper(), form.title())
                for written in cased:
                    found[written.encode().lower()] = None
                    with contextlib.suppress(UnicodeEncodeError):
                        found[written.encode("cp1252").lower()] = None
        return sorted((raw for raw in found if len(raw) >= SHORTEST), key=len, reverse=True)

    def named(self, text: str) -> Reason:
        """The kind of a text that was found."""
        what = self.texts.get(folded(text)) or self.hashes.get(folded(text)) or reasons.TheKey()
        other = isinstance(what, reasons.TheKey) and text not in self.keys
        return reasons.SpelledOtherwise() if other else what

    def parts(self) -> list[str]:
        """Texts that are also searched for within longer texts."""
        return sorted(
            (t for t in self.texts if len(t) >= SHORTEST_PART), key=lambda t: (-len(t), t)
        )


# No needle is longer. A needle may span two chunks.
_OVERLAP = 4096


class _Look:
    """One search of a column: which rows match, and what was found."""

    def __init__(self, needles: Needles, column: str) -> None:
        self._needles, self._column = needles, column
        self.kinds: set[Reason] = set()
        self.whole = True
        as_written = pa.array(list(needles.written), pa.large_string())
        # Python and Arrow do not agree on the lower case of every letter.
        small = _folded(as_written).to_pylist() if len(as_written) else []
        wanted = {*needles.texts, *needles.hashes, *small}
        self._wanted, self._as_written = pa.array(sorted(wanted), pa.large_string()), as_written
        long = (text for text in needles.written if len(text) >= SHORTEST_PART)
        parts = dict.fromkeys((*needles.parts(), *long))
        forms = sorted(
            {form for text in parts for form in _forms(text)}, key=lambda t: (-len(t), t)
        )
        listed = "|".join([*map(re.escape, forms), *needles.patterns])
        before = rf"^|[^\pL\pN]|{_ESCAPED}"
        self._pattern = rf"(?i)(?:{before})(?:{listed})(?:$|[^\pL\pN])" if listed else None

    def rows(self, array: pa.Array) -> Mask:
        """Which rows of an array hold a needle, including in nested values."""
        array = _plain(array)
        kind = array.type
        if pa.types.is_null(kind) or len(array) == 0:
            return np.zeros(len(array), bool)
        if pa.types.is_map(kind):
            array = _entries(array)
            kind = array.type
        if pa.types.is_struct(kind):
            found = np.zeros(len(array), bool)
            for child in array.flatten():
                found |= self.rows(child)
            return found
        if (
            pa.types.is_list(kind)
            or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        ):
            found = np.zeros(len(array), bool)
            inside = self.rows(array.flatten())
            if inside.any():
                found[pc.list_parent_indices(array).to_numpy()[inside]] = True
                self.whole = False
            return found
        if pa.types.is_nested(kind):
            raise UnsupportedDataset(
                f"column '{self._column}' is of type {kind}, which is not searched"
            )
        if _is_bytes(kind):
            return self._bytes(array)
        if _is_text(kind):
            return self._text(array.cast(pa.large_string()))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return self._numbers(array)
        return np.zeros(len(array), bool)

    def whole_values(self, text: pa.Array) -> Mask:
        """Which of the texts are a needle as a whole."""
        whole = _mask(pc.is_in(_folded(text), self._wanted)) | _mask(
            pc.is_in(text, self._as_written)
        )
        if phones := _phones(self._needles):
            for other in alike(text, self._column, phones):
                whole |= _mask(pc.equal(text, other))
        return whole

    def _text(self, text: pa.Array) -> Mask:
        needles = self._needles
        whole = self.whole_values(text)
        part = np.zeros(len(text), bool)
        if self._pattern is not None:
            part |= _mask(pc.match_substring_regex(text, self._pattern))
        long = pc.greater(pc.binary_length(text), SHORTEST_HASH)
        if needles.hashes and pc.any(long).as_py():
            within = pc.and_(
                long, pc.match_substring_regex(text, f"[0-9A-Fa-f]{{{SHORTEST_HASH}}}")
            )
            within = pc.and_(within, pc.invert(pc.match_substring_regex(text, "^[0-9A-Fa-f]+$")))
            for i in np.flatnonzero(_mask(within)):
                part[i] |= needles.has_hash(text[int(i)].as_py())
        self._name(text, whole, part & ~whole)
        return whole | part

    def _name(self, text: pa.Array, whole: Mask, part: Mask) -> None:
        for i in np.flatnonzero(whole)[:_NAMED]:
            self.kinds.add(self._needles.named(text[int(i)].as_py()))
        for i in np.flatnonzero(part)[:_NAMED]:
            self.whole = False
            value = text[int(i)].as_py()
            self.kinds.update(self._needles.within(value) or [reasons.TheKey()])

    def _bytes(self, array: pa.Array) -> Mask:
        found = np.zeros(len(array), bool)
        raw = array.cast(pa.large_binary())
        wanted = pa.array(list(self._needles.digests), pa.large_binary())
        same = _mask(pc.is_in(raw, wanted))
        for i in np.flatnonzero(same)[:_NAMED]:
            self.kinds.add(self._needles.digests[raw[int(i)].as_py()])
        if same.any():
            self.whole = False  # nothing is done because of the bytes of a digest
        found |= same
        for i, value in enumerate(raw.to_pylist()):
            for hit in self._needles.in_chunks([value]) if value else ():
                found[i] = True
                self.kinds.update(hit.kinds)
                self.whole = False
        return found

    def _numbers(self, array: pa.Array) -> Mask:
        found = np.zeros(len(array), bool)
        for text, what in self._needles.texts.items():
            number = _number(text)
            if number is None:
                continue
            try:
                if pa.types.is_integer(array.type):
                    if number != number.to_integral_value():
                        continue
                    value = pa.scalar(int(number), array.type)
                elif pa.types.is_decimal(array.type):
                    value = pa.scalar(number, array.type)
                else:
                    value = pa.scalar(float(number), array.type)
            except (pa.ArrowException, OverflowError, ValueError):
                continue
            same = _mask(pc.equal(array, value))
            if same.any():
                self.kinds.add(what)
                found |= same
        return found


def not_distinctive(text: str) -> Reason | None:
    """Why a text is not searched for in other people's data: too many values are the same by chance."""
    bare = text.strip()
    if len(bare) < SHORTEST:
        return reasons.TooShort(SHORTEST)
    number = _number(bare)
    if number is not None and len(re.sub(r"\D", "", bare)) < SHORTEST_NUMBER:
        return reasons.TooFewDigits(SHORTEST_NUMBER)
    if bare.isalpha():
        return reasons.SingleWord()
    return None


def _spellings_in(form: NormalForm, text: str) -> list[str]:
    """Regular expressions for the spellings of a text that is in a normal form."""
    if form.name == "number" and text.isdigit():
        return [f"0*{text}"]
    local, at, domain = text.rpartition("@")
    if form.name == "email_without_tag" and at:
        return [rf"{re.escape(local)}(?:\+[^@\s,;<>\"']{{0,64}})?@{re.escape(domain)}"]
    if form.name == "phone" and form.region and re.fullmatch(r"\+\d{8,15}", text):
        national = form.national(text)
        if national is not None and len(national) >= SHORTEST_NUMBER:
            return [r"\(?0?\)?[\s()/.-]{0,3}" + r"[\s()/.-]{0,3}".join(national)]
    return []


def _phones(needles: Needles) -> list[str]:
    """The needles that are international telephone numbers."""
    return [t for t in needles.texts if re.match(r"(\+|00)[\d\s()/.-]{6,}\Z", t)]


def _escaped(text: str) -> list[str]:
    """A text as programs write it into URLs, JSON, SQL, CSV, HTML."""
    forms = [
        text, quote(text, safe=""), quote(text), quote(text, safe="@"), quote_plus(text), quote_plus(text, safe="@"),
        json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text), html.escape(text, False),
    ]  # fmt: skip
    apostrophe = ("''", "\\'", "\\u0027", "&#39;", "&apos;")
    for sign, others in (("'", apostrophe), ('"', ('""', "\\u0022", "&#34;"))):
        forms += [text.replace(sign, other) for other in others if sign in text]
    if "@" in text:
        forms += [text.replace("@", sign) for sign in ("&#64;", "&#x40;", "&commat;", "\\u0040")]
    if " " in (inner := text.strip()):
        forms += [inner.replace(" ", sign) for sign in ("\u00a0", "&nbsp;", "&#160;", "\n", "\r\n")]
    return list(dict.fromkeys(forms))


def _forms(text: str) -> list[str]:
    import unicodedata

    return list(dict.fromkeys((text, *(unicodedata.normalize(f, text) for f in ("NFC", "NFD")))))


def _folded(text: pa.Array) -> pa.Array:
    return fold(text)


def _plain(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    while True:
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        elif pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif pa.types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        else:
            return array


def _dictionaries(array: pa.Array) -> Iterator[pa.Array]:
    """The dictionaries of an array, including those of nested values."""
    if isinstance(array, pa.ChunkedArray):
        for chunk in array.chunks:
            yield from _dictionaries(chunk)
    elif pa.types.is_dictionary(array.type):
        yield array.dictionary
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _dictionaries(child)
    elif pa.types.is_map(array.type):
        yield from _dictionaries(array.keys)
        yield from _dictionaries(array.items)
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from _dictionaries(array.values)


def _entries(array: pa.Array) -> pa.Array:
    """A map as a list of its keys and values."""
    start, length = array.offsets[0].as_py(), array.offsets[-1].as_py() - array.offsets[0].as_py()
    offsets = pc.subtract(array.offsets, array.offsets[0])
    both = pa.StructArray.from_arrays(
        [array.keys.slice(start, length) if len(array.keys) != length else array.keys,
         array.items.slice(start, length) if len(array.items) != length else array.items],
        ["key", "value"],
    )  # fmt: skip
    return pa.ListArray.from_arrays(offsets.cast(pa.int32()), both)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _mask(array: Any) -> Mask:
    found: Mask = pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(bool)
    return found


def is_hash(text: str) -> bool:
    """Whether a text has the form of pseudonyms and hashes, hexadecimal digits."""
    return len(text) >= SHORTEST_HASH and re.fullmatch("[0-9A-Fa-f]+", text) is not None


def _number(text: str) -> Decimal | None:
    if not re.fullmatch(r"-?\d+(\.\d+)?", text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _uuid(text: str) -> uuid.UUID | None:
    if not re.fullmatch(r"[0-9A-Fa-f]{8}(-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}", text.strip()):
        return None
    return uuid.UUID(text.strip())
