"""Tokens are AES-SIV as RFC 5297 and `cryptography` have it, row for row."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import detokenize, fit_plan, verify_release
from airflow_mlsec.codes._siv import siv_decrypt, siv_encrypt
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import DecryptionFailed
from airflow_mlsec.policy import Policy
from tests import canaries

KEY = bytes(range(64))


@given(
    st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=70)), max_size=12),
    st.sampled_from([32, 48, 64]),
    st.integers(0, 3),
)
def test_equal_to_cryptography_on_every_row(
    values: list[bytes | None], size: int, skip: int
) -> None:
    array = pa.array(values, pa.large_binary()).slice(min(skip, len(values)))
    made = siv_encrypt(array, KEY[:size])
    theirs = AESSIV(KEY[:size])
    expected = [None if v is None else theirs.encrypt(v, None) for v in array.to_pylist()]
    assert made.to_pylist() == expected
    assert siv_decrypt(made, KEY[:size]).to_pylist() == array.to_pylist()


def test_values_of_every_length_and_the_empty_one() -> None:
    values = [bytes([n % 251]) * n for n in range(200)] + [b"x" * 100_000]
    array = pa.array(values, pa.large_binary())
    made = siv_encrypt(array, KEY)
    assert [len(token) for token in made.to_pylist()] == [len(v) + 16 for v in values]
    assert made[1:].to_pylist() == [AESSIV(KEY).encrypt(v, None) for v in values[1:]]
    assert siv_decrypt(made, KEY).to_pylist() == values


def test_changed_tokens_are_refused() -> None:
    [token] = siv_encrypt(pa.array([b"somebody@example.org"], pa.large_binary()), KEY).to_pylist()
    for place in range(len(token)):
        changed = bytes([*token[:place], token[place] ^ 1, *token[place + 1 :]])
        with pytest.raises(ValueError, match="not made with this key"):
            siv_decrypt(pa.array([changed], pa.large_binary()), KEY)
    with pytest.raises(ValueError, match="too short"):
        siv_decrypt(pa.array([token[:15]], pa.large_binary()), KEY)
    with pytest.raises(ValueError, match="not made with this key"):
        siv_decrypt(pa.array([token], pa.large_binary()), KEY[::-1])


def test_a_policy_tokenizes_and_the_key_turns_it_back(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    policy = make_policy(
        "email: {role: identifying, transform: {method: tokenize, domain: person}}"
    )
    values = [canaries.EMAIL, None, "é", canaries.EMAIL]
    table = pa.table({"email": values})
    plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
    made = plan.apply(table, keys)
    tokens = made.column("email").combine_chunks()
    assert tokens[0] == tokens[3] != tokens[2]
    assert canaries.found_in(str(made.to_pylist())) == []
    key = keys.current("token.person").secret
    assert tokens[2].as_py() == AESSIV(key).encrypt("é".encode(), None).hex()
    assert detokenize(tokens, key).to_pylist() == values
    for wrong in ("00" * 20, "xyz", "00"):
        with pytest.raises(DecryptionFailed):
            detokenize(pa.array([wrong]), key)
    assert all(finding.passed for finding in verify_release(policy, made.schema, made.to_batches()))
    raw = verify_release(policy, table.schema, table.to_batches())
    assert not all(finding.passed for finding in raw)
