"""Bech32 (BIP 173) without its length limit, as the age format uses it for keys."""

from __future__ import annotations

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def encode(prefix: str, data: bytes) -> str:
    """Encode ``data`` under a lower-case human-readable ``prefix``."""
    values = _regroup(data, 8, 5, pad=True)
    checksum = _polymod([*_expand(prefix), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    values += [(checksum >> 5 * (5 - i)) & 31 for i in range(6)]
    return f"{prefix}1{''.join(_ALPHABET[v] for v in values)}"


def decode(text: str) -> tuple[str, bytes]:
    """The lower-case prefix and the data.

    :raises ValueError: if the text is not Bech32 (mixed case, alphabet, checksum, padding).
    """
    if not text.isascii():
        raise ValueError("character outside the alphabet")
    if text.lower() != text and text.upper() != text:
        raise ValueError("mixed case")
    text = text.lower()
    prefix, separator, rest = text.rpartition("1")
    if not separator or not prefix or len(rest) < 6:
        raise ValueError("no separator")
    if any(not 33 <= ord(c) <= 126 for c in prefix) or any(c not in _ALPHABET for c in rest):
        raise ValueError("character outside the alphabet")
    values = [_ALPHABET.index(c) for c in rest]
    if _polymod([*_expand(prefix), *values]) != 1:
        raise ValueError("checksum")
    return prefix, bytes(_regroup(values[:-6], 5, 8, pad=False))


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            check ^= _GENERATOR[i] if (top >> i) & 1 else 0
    return check


def _regroup(data: bytes | list[int], width_in: int, width_out: int, pad: bool) -> list[int]:
    accumulator = bits = 0
    result = []
    for value in data:
        accumulator = accumulator << width_in | value
        bits += width_in
        while bits >= width_out:
            bits -= width_out
            result.append(accumulator >> bits & ((1 << width_out) - 1))
    rest = accumulator << (width_out - bits) & ((1 << width_out) - 1)
    if pad and bits:
        result.append(rest)
    elif not pad and (bits >= width_in or rest):
        raise ValueError("padding")
    return result


def decode_key(text: str, prefix: str, size: int) -> bytes | None:
    """The bytes of a key as age writes them: of this prefix and size, recipients in lower case and
    identities in upper case; None if the text is not one."""
    text = text.strip()
    try:
        found, data = decode(text)
    except ValueError:
        return None
    spelled = text.upper() if "secret" in prefix else text.lower()
    return data if found == prefix and len(data) == size and text == spelled else None
