from __future__ import annotations

import json

import pytest

from airflow_mlsec import errors


def test_the_tree_drawn_in_the_docstring_is_the_tree() -> None:
    for name in errors.__all__:
        assert name in (errors.__doc__ or ""), f"{name} is not in the docstring's tree"
        assert issubclass(getattr(errors, name), errors.MlsecError)


@pytest.mark.parametrize(
    ("error", "builtin", "code"),
    [
        pytest.param(errors.PolicyError("x"), ValueError, 2, id="policy"),
        pytest.param(errors.DatasetNotFound("x"), FileNotFoundError, 2, id="dataset"),
        pytest.param(errors.ColumnMissing("x"), KeyError, 2, id="column"),
        pytest.param(errors.UndeclaredColumn("x"), PermissionError, 3, id="undeclared"),
        pytest.param(errors.CheckFailed("x"), AssertionError, 1, id="check"),
        pytest.param(errors.KeyNotFound("x"), KeyError, 2, id="key"),
        pytest.param(errors.DecryptionFailed(), errors.CryptoError, 3, id="decryption"),
    ],
)
def test_errors_are_the_nearest_builtin_and_carry_the_exit_code(
    error: errors.MlsecError, builtin: type[Exception], code: int
) -> None:
    assert isinstance(error, builtin)
    assert error.exit_code == code


def test_messages_name_a_dozen_columns_and_count_the_rest() -> None:
    many = [f"c{i:02}" for i in range(20)]
    text = str(errors.UndeclaredColumn.found(many, "people", "people.yaml", ["a", *many], ["a"]))
    assert "'c00'" in text
    assert "and 8 more" in text
    assert "'c19'" not in text


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    assert str(errors.UsageError("no \x1b[2Jä\udc80\u202e.txt\nhint")) == (
        "no \\x1b[2Jä\\udc80\\u202e.txt\nhint"
    )


def test_json_stays_the_document_that_it_is() -> None:
    given = {"a": "x\u202ey\u0085\U000e0001", "b": ["ä\u00a0\n", 1]}
    text = errors.printable_json(json.dumps(given, ensure_ascii=False, indent=2))
    assert json.loads(text) == given
    assert not set("\u202e\u0085\U000e0001") & set(text)
    assert "ä\u00a0" in text
