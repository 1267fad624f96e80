"""FF1 beside NIST's samples, and what becomes of card numbers, phones and codes."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import GuaranteeNotMet, PolicyError
from airflow_mlsec.policy import Policy
from airflow_mlsec.transforms._ff1 import ff1
from airflow_mlsec.transforms._fpe import ALPHABETS, Format, encrypt_format
from tests import canaries

KEY = "2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94"
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
# NIST, "Block Cipher Modes of Operation: FF1 Samples": key bits, radix, tweak, plaintext, ciphertext.
SAMPLES = [
    (128, 10, "", "0123456789", "2433477484"),
    (128, 10, "39383736353433323130", "0123456789", "6124200773"),
    (128, 36, "3737373770717273373737", "0123456789abcdefghi", "a9tv40mll9kdu509eum"),
    (192, 10, "", "0123456789", "2830668132"),
    (192, 10, "39383736353433323130", "0123456789", "2496655549"),
    (192, 36, "3737373770717273373737", "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"),
    (256, 10, "", "0123456789", "6657667009"),
    (256, 10, "39383736353433323130", "0123456789", "1001623463"),
    (256, 36, "3737373770717273373737", "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
]


@pytest.mark.parametrize(("bits", "radix", "tweak", "plain", "cipher"), SAMPLES)
def test_nist_samples(bits: int, radix: int, tweak: str, plain: str, cipher: str) -> None:
    key, rows = bytes.fromhex(KEY)[: bits // 8], 3
    numerals = np.array([[ALPHABET.index(c) for c in plain]] * rows)
    tweaks = np.tile(np.frombuffer(bytes.fromhex(tweak), np.uint8), (rows, 1)).reshape(rows, -1)
    made = ff1(numerals, tweaks, radix, key)
    assert ["".join(ALPHABET[i] for i in row) for row in made] == [cipher] * rows
    assert (ff1(made, tweaks, radix, key, decrypt=True) == numerals).all()


@given(
    radix=st.sampled_from([2, 3, 10, 26, 62, 256, 1000, 65536]),
    length=st.integers(2, 45),
    tweak=st.binary(max_size=40),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_radix_and_length_decrypts(radix: int, length: int, tweak: bytes, seed: int) -> None:
    numerals = np.random.default_rng(seed).integers(0, radix, (5, length))
    tweaks = np.tile(np.frombuffer(tweak, np.uint8), (5, 1)).reshape(5, -1)
    if radix**length < 10**6:
        with pytest.raises(ValueError, match="million"):
            ff1(numerals, tweaks, radix, bytes(32))
        return
    made = ff1(numerals, tweaks, radix, bytes(32))
    assert ((made >= 0) & (made < radix)).all()
    assert (ff1(made, tweaks, radix, bytes(32), decrypt=True) == numerals).all()


def encrypted(values: list[str | None], how: Format, decrypt: bool = False) -> list[str | None]:
    found: list[str | None] = encrypt_format(
        pa.array(values, pa.string()), "card", bytes(32), how, decrypt
    ).to_pylist()
    return found


def luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()][::-1]
    return sum(d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(digits)) % 10 == 0


def card(chance: random.Random) -> str:
    body = "4" + "".join(str(chance.randrange(10)) for _ in range(14))
    return next(body + str(d) for d in range(10) if luhn(body + str(d)))


def test_the_format_stays() -> None:
    values = ["4111 1111 1111 1111", "5500-0000-0000-0004", None, "4111 1111 1111 1112"]
    made = encrypted(values, Format(keep_first=6, keep_last=4))
    assert made[2] is None
    for before, after in zip(values, made, strict=True):
        if before is None or after is None:
            continue
        assert [c for c in after if not c.isdigit()] == [c for c in before if not c.isdigit()]
        kept = [c for c in after if c.isdigit()]
        assert kept[:6] + kept[-4:] == [*before.replace(" ", "").replace("-", "")[:6], *before[-4:]]
        assert after != before
    # The same digits between other kept ones come out otherwise.
    assert made[0] is not None
    assert made[3] is not None
    assert made[0][7:14] != made[3][7:14]
    assert encrypted(made, Format(keep_first=6, keep_last=4), decrypt=True) == values
    assert encrypted(values[::-1], Format(keep_first=6, keep_last=4)) == made[::-1]


def test_the_check_digit_stays_right_and_all_is_one_to_one() -> None:
    chance = random.Random(5)
    values = list({card(chance) for _ in range(2_000)})
    how = Format(keep_first=6, luhn=True)
    made = encrypted(list(values), how)
    assert all(luhn(text) for text in made if text)
    assert len(set(made)) == len(values)
    assert encrypted(made, how, decrypt=True) == values


@pytest.mark.parametrize("alphabet", sorted(ALPHABETS))
def test_named_alphabets(alphabet: str) -> None:
    symbols = ALPHABETS[alphabet]
    chance = random.Random(alphabet)
    values = [
        "é-" + "".join(chance.choices(symbols, k=n)) + "_" for n in (12, 20, 33) for _ in "ab"
    ]
    how = Format(symbols)
    made = encrypted(list(values), how)
    for before, after in zip(values, made, strict=True):
        assert after is not None
        assert (after[:2], after[-1], len(after)) == ("é-", "_", len(before))
        assert set(after[2:-1]) <= set(symbols)
    assert encrypted(made, how, decrypt=True) == values


def test_letters_of_any_script_can_be_an_alphabet() -> None:
    how = Format("αβγδεζηθικλμνξοπρστυφχψω🌍")
    values = ["καλημερα σας", "αααααααα"]
    made = encrypted(list(values), how)
    assert encrypted(made, how, decrypt=True) == values
    assert made[0] is not None
    assert made[0][8] == " "


def test_too_small_a_domain_is_refused_and_no_value_is_shown() -> None:
    with pytest.raises(GuaranteeNotMet, match="1 values leave fewer than 6 characters") as caught:
        encrypted(["123456", "12345"], Format())
    assert "row 2" in str(caught.value)
    with pytest.raises(GuaranteeNotMet, match="fewer than 7"):
        encrypted(["4111111111111111"], Format(keep_first=6, keep_last=4, luhn=True))
    with pytest.raises(GuaranteeNotMet, match="fail the Luhn check") as caught:
        encrypted(["4111111111111112"], Format(luhn=True))
    assert "4111" not in str(caught.value)


def test_a_policy_encrypts_cards(make_policy: Callable[..., Policy], keys: KeyRing) -> None:
    policy = make_policy(
        "card: {role: identifying, transform: {method: fpe, keep_first: 6, keep_last: 4}}\n"
        "phone: {role: identifying, transform: {method: fpe, domain: phones}}"
    )
    table = pa.table(
        {"card": ["4111111111111111", None], "phone": [canaries.PHONE, "+1 212 555 01 99"]}
    )
    plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
    made = plan.apply(table, keys).to_pylist()
    assert made[0]["card"].startswith("411111")
    assert made[0]["card"] != "4111111111111111"
    assert made[1]["phone"].startswith("+")
    assert canaries.found_in(str(made)) == []
    assert canaries.found_in(str(plan.to_json())) == []
    keys.rotate("fpe.phones")
    assert plan.apply(table, keys).to_pylist() == made, "the plan has the key's version"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("alphabet: abca", "twice"),
        ("alphabet: hex, luhn: true", "of digits"),
        ("radix: 10", "unknown key"),
    ],
)
def test_formats_that_make_no_sense_are_refused(
    make_policy: Callable[..., Policy], more: str, says: str
) -> None:
    with pytest.raises(PolicyError, match=says):
        make_policy(f"card: {{role: identifying, transform: {{method: fpe, {more}}}}}")
