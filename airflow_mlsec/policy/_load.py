"""From YAML text, file or folder to policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from airflow_mlsec.errors import PolicyError
from airflow_mlsec.policy._model import Model
from airflow_mlsec.policy._organization import (
    ORGANIZATION,
    Organization,
    with_accounts,
    with_people,
)
from airflow_mlsec.policy._positions import Document, read
from airflow_mlsec.policy._schema import Policy
from airflow_mlsec.policy._transform_field import with_transforms

Checked = TypeVar("Checked", bound=Model)
# The file of an organization's own controls, if it is in the folder of the policies.
CONTROLS = "controls.yaml"
# What only people can state for documents (`documents`), if it is there.
APPLICABILITY, ASSESSMENTS = "applicability.yaml", "impact-assessments.yaml"


def files_beside(folder: Path) -> frozenset[Path]:
    """The files in a folder of policies that are none."""
    names = (ORGANIZATION, CONTROLS, APPLICABILITY, ASSESSMENTS)
    return frozenset(folder / name for name in names)


def parse_policy(text: str, source: str = "policy") -> Policy:
    """Read a policy from YAML text. ``source`` names it in errors.

    :raises PolicyError: with every finding, one per line, as ``file:line:column: message``.
    """
    policy = _validated(Policy, text, source)
    policy._source = source
    return policy


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    :raises PolicyError: if the file is missing, not UTF-8, or not a valid policy.
    """
    return parse_policy(_text_of(path, "policy file"), str(path))


def line_of(path: Path, *keys: str) -> int:
    """The line, from 1, on which a key of a policy's file is; of several keys, each within the one before. If it is not there,
    the line of the last that is, or the first line."""
    return read(_text_of(path, "policy file"), str(path)).position(keys)[0]


def load_organization(path: Path) -> Organization:
    """Read the file that says who we are; nothing is stated if there is no file.

    :raises PolicyError: if it cannot be read, is not UTF-8, or is not valid.
    """
    if not path.exists():
        return Organization(version=1)
    organization = _validated(Organization, _text_of(path, "file of the organization"), str(path))
    if organization.accounts is not None:
        organization = with_accounts(organization, path.parent)
    if organization.people_file is not None:
        organization = with_people(organization, path.parent)
    return organization


def load_beside(model: type[Checked], path: Path, what: str) -> Checked | None:
    """Read another file that stands beside the policies; None if there is no file.

    :raises PolicyError: if it cannot be read, is not UTF-8, or is not valid.
    """
    return _validated(model, _text_of(path, what), str(path)) if path.exists() else None


def _validated(model: type[Checked], text: str, source: str) -> Checked:
    document = read(text, source)
    if not isinstance(document.data, dict):
        raise PolicyError.at(source, 1, 1, "expected a mapping that starts with `version: 1`")
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        found = sorted({_finding(item, document, source) for item in error.errors()})
        raise PolicyError(
            "\n".join(f"{source}:{at[0]}:{at[1]}: {text}" for at, text in found)
        ) from None


def _text_of(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PolicyError(f"{path}: no such {what}") from None
    except UnicodeDecodeError:
        raise PolicyError.at(str(path), 1, 1, "not UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise PolicyError(f"{path!s}: cannot be read ({reason})") from None


class Catalog:
    """The policies of a folder, by name: the path below the folder without ``.yaml``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> Policy:
        """The policy called ``name``, with or without its ``.yaml``.

        :raises PolicyError: if it does not exist, or ``name`` leads out of the folder.
        """
        if "\0" in name:
            raise PolicyError("a policy name contains a NUL character")
        base = self.folder.resolve()
        wanted = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
        path = (base / wanted).resolve()
        if not path.is_relative_to(base):
            raise PolicyError(f"policy '{name}' leads out of the policies folder {self.folder}")
        if not path.is_file():
            raise PolicyError(
                f"policy '{name}' is not in {self.folder} ([mlsec] policies_folder); "
                f"it has: {', '.join(self.names()) or 'no policies'}"
            )
        return load_policy(path)

    def names(self) -> list[str]:
        """Names of all policies, sorted. The files that say who we are and how controls are asked stand beside them, and
        are none, nor are those from which documents are written."""
        every = (p for ending in ("*.yaml", "*.yml") for p in self.folder.rglob(ending))
        found = (p for p in every if p not in files_beside(self.folder))
        return sorted(str(p.relative_to(self.folder).with_suffix("")) for p in found)

    def __iter__(self) -> Iterator[Policy]:
        return (self.get(name) for name in self.names())


def policy_json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a policy file, for editors."""
    schema = with_transforms(Policy.model_json_schema(by_alias=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "airflow-mlsec dataset policy",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _finding(item: Any, document: Document, source: str) -> tuple[tuple[int, int], str]:
    # pydantic puts the tag of a union ("pseudonymize") into the path; the file has no such key.
    path: tuple[str | int, ...] = ()
    for part in item["loc"]:
        if (*path, part) in document.positions:
            path = (*path, part)
    kind, missing = item["type"], item["loc"][-1] if item["loc"] else "policy"
    where = ".".join(str(part) for part in path) or "policy"
    if kind == "extra_forbidden":
        text = f"unknown key '{missing}'"
    elif kind == "missing":
        text = f"{where}: key '{missing}' is missing"
    elif kind == "unknown_method":
        path = (*path, "method") if (*path, "method") in document.positions else path
        text = item["msg"]
    elif kind == "union_tag_invalid":
        context = item["ctx"]
        tag = context["discriminator"].strip("'")
        path = (*path, tag) if (*path, tag) in document.positions else path
        text = f"unknown {tag} '{context['tag']}'; one of {context['expected_tags']}"
    elif kind == "union_tag_not_found":
        text = f"{where}: key {item['ctx']['discriminator']} is missing"
    elif kind == "enum" or kind == "literal_error":
        text = f"{where}: must be one of {item['ctx']['expected']}"
    elif kind == "value_error":
        text = f"{where}: {item['ctx']['error']}"
    else:
        text = f"{where}: {item['msg'].lower()}"
    return document.position(path), text
