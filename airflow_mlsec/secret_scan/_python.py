"""Finds secrets in Python source by their names: values that are assigned, passed as arguments, or in a dictionary.
Scanning single lines, as libraries do, cannot distinguish an argument from a call."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

from airflow_mlsec.secret_scan._names import is_allowed, is_secret
from airflow_mlsec.secret_scan._text import secrets_in_line

# Methods that may be applied to a secret.
_OF_TEXT = {"encode", "decode", "strip", "format", "replace", "lower", "upper", "join"}
_WRAPPERS = {
    "SecretStr",
    "SecretBytes",
    "Secret",
    "str",
    "bytes",
    "quote",
    "quote_plus",
    "b64encode",
    "b64decode",
}
# setattr has three arguments.
_MOST_ARGUMENTS = 3
_A_NAME = re.compile(r"[\w.-]{1,64}")
_LOOKED_UP = ("default", "default_var", "fallback")
_MAPPED = (("key", "value"), ("name", "value"), ("key", "val"))


def secrets_in_python(source: str) -> list[int] | None:
    """The lines, counted from 1, that contain a secret; None if Python cannot parse the source."""
    try:
        with warnings.catch_warnings():
            # Warnings about escapes in the source.
            warnings.simplefilter("ignore")
            tree = ast.parse(source.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    try:
        return list(_found(tree, source.split("\n")))
    except RecursionError:
        return None


def _found(tree: ast.AST, lines: list[str]) -> Iterator[int]:
    for node in ast.walk(tree):
        for name, value in _bindings(node):
            for line, text in _constants(value):
                if is_secret(name, text) and not is_allowed(lines, line):
                    yield line
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Commands and settings within a text. A line within a text is reported as the text's first line.
            for text in node.value.splitlines():
                if secrets_in_line(text) and not is_allowed(lines, node.lineno):
                    yield node.lineno


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    match node:
        case ast.keyword(arg="auth", value=ast.Tuple(elts=[_, value])):
            yield "password", value
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _unpacked(target, value)
        case (
            ast.AnnAssign(target=target, value=value)
            | ast.NamedExpr(target=target, value=value)
            | ast.AugAssign(target=target, value=value)
        ):
            yield _name_of(target), value
        case ast.Call():
            yield from _of_call(node)
        case ast.arguments():
            positional = [*node.posonlyargs, *node.args]
            defaults = node.defaults
            for argument, value in zip(
                positional[len(positional) - len(defaults) :], defaults, strict=True
            ):
                yield argument.arg, value
            for argument, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                yield argument.arg, default
        case ast.Dict(keys=keys, values=values):
            named = {}
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
                    named[key.value] = value
            yield from _mapped(named)
        case ast.Tuple(elts=[ast.Constant(value=str(name)), value]) if not _is_a_word(value):
            yield name, value


def _unpacked(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        for one, part in zip(target.elts, value.elts, strict=False):
            yield from _unpacked(one, part)
    elif isinstance(value, ast.Dict):
        for key, part in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str | int):
                yield f"{_name_of(target)}.{key.value}", part
    else:
        yield _name_of(target), value


def _of_call(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """``os.environ.setdefault(name, value)``, ``setattr(x, name, value)``, ``Variable.get(name, default=value)``,
    ``Variable.set(key=name, value=value)``, ``HTTPBasicAuth(user, value)`` and the like."""
    if 2 <= len(node.args) <= _MOST_ARGUMENTS:
        name, value = node.args[-2:]
        if (
            isinstance(name, ast.Constant)
            and isinstance(name.value, str)
            and _A_NAME.fullmatch(name.value)
            and not _is_a_word(value)
        ):
            yield name.value, value
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        for option in _LOOKED_UP:
            if option in given:
                yield node.args[0].value, given[option]
    yield from _mapped(given)
    if _name_of(node.func).endswith(("BasicAuth", "DigestAuth")) and len(node.args) > 1:
        yield "password", node.args[1]


def _is_a_word(value: ast.expr) -> bool:
    """Whether an expression is a word or a name: if two texts merely follow each other, the first is not
    the name of the second."""
    return (
        isinstance(value, ast.Constant)
        and isinstance(value.value, str)
        and re.fullmatch("[A-Za-z_ ]+:?", value.value) is not None
    )


def _mapped(given: dict[str, ast.expr]) -> Iterator[tuple[str, ast.expr]]:
    """Names and values that are given as separate arguments."""
    for key, value in _MAPPED:
        name = given.get(key)
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and value in given:
            yield name.value, given[value]


def _constants(value: ast.expr | None) -> Iterator[tuple[int, str | int]]:
    """The texts and numbers that an expression may evaluate to, and their lines."""
    match value:
        case ast.Constant(value=str(text)):
            yield value.lineno, text
        case ast.Constant(value=bytes(data)):
            yield value.lineno, data.decode("utf-8", "replace")
        case ast.Constant(value=bool()):
            return
        case ast.Constant(value=int(number)):
            yield value.lineno, number
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            # Long sums are texts over many lines: only their two ends are checked.
            yield from _constants(right)
            if not isinstance(left, ast.BinOp):
                yield from _constants(left)
        case (
            ast.BoolOp(values=parts)
            | ast.List(elts=parts)
            | ast.Tuple(elts=parts)
            | ast.Set(elts=parts)
        ):
            for part in parts:
                yield from _constants(part)
        case ast.IfExp(body=body, orelse=other):
            yield from _constants(body)
            yield from _constants(other)
        case ast.Call(func=ast.Attribute(value=ast.Constant() as text, attr=method)) if (
            method in _OF_TEXT
        ):
            yield from _constants(text)
        case ast.Call(func=function, args=[first]) if _name_of(function) in _WRAPPERS:
            yield from _constants(first)
        case ast.Call(func=function, keywords=keywords) if _name_of(function) in (
            "Field",
            "Param",
            "field",
        ):
            for keyword in keywords:
                if keyword.arg == "default":
                    yield from _constants(keyword.value)
            yield from (found for first in value.args[:1] for found in _constants(first))


def _name_of(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""
