"""Changes that are changes whatever was there."""

from __future__ import annotations


def last_byte_changed(data: bytes) -> bytes:
    """The data with another last byte."""
    return data[:-1] + bytes([data[-1] ^ 1])
