"""A plan: the result of fitting a policy to data, and the pure function that applies it.

A plan is a small JSON document (format ``airflow-mlsec/plan/1``) that names what happens to
each column, with which key version, and which equivalence classes are released. It contains no
key and no raw identifier, and the same plan gives the same bytes for the same rows: in an
Airflow task, in a notebook, or at inference time on one row.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec import hierarchies
from airflow_mlsec.anonymize import _frames
from airflow_mlsec.anonymize._column import KeyOf, PlannedColumn
from airflow_mlsec.anonymize._nested import flattened, nested
from airflow_mlsec.anonymize.recoding._local_plan import LocalMatcher, ReleasedStep
from airflow_mlsec.anonymize.recoding._mondrian_plan import RegionMatcher, Regions
from airflow_mlsec.anonymize.recoding._released import LOCAL, MULTIDIMENSIONAL, ReleasedClasses
from airflow_mlsec.crypto import (
    Key,
    KeyRing,
    VerificationKeys,
    sign_payload,
    verify_payload,
)
from airflow_mlsec.datasets import Artifact, as_artifact
from airflow_mlsec.errors import (
    ColumnMissing,
    DatasetError,
    DatasetNotFound,
    GuaranteeNotMet,
    PlanError,
    SignatureInvalid,
    UndeclaredColumn,
)
from airflow_mlsec.policy import TokenVault

FORMAT = "airflow-mlsec/plan/1"
SIGNED_FORMAT = "airflow-mlsec/signed-plan/1"
_PAYLOAD_TYPE = "application/vnd.airflow-mlsec.plan+json"


@dataclass(frozen=True)
class Plan:
    """See the module. Build one with `fit_plan`, or read one with `Plan.load`."""

    policy_digest: str
    dataset: str
    drop_unlisted: bool
    columns: tuple[PlannedColumn, ...]
    classes: ReleasedClasses | None
    achieved: Mapping[str, Any]
    subject: Mapping[str, str] | None = None
    # Whether rows that no released class covers are refused instead of left out.
    refuses_unseen: bool = False
    # Nested columns of the source whose leaves are columns of the plan.
    nested: tuple[str, ...] = ()
    _keys: dict[tuple[str, int], Key] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of the plan's canonical JSON."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """The plan as canonical JSON: sorted keys, no spaces."""
        return json.dumps(
            self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()

    def output_columns(self) -> list[str]:
        """Names of the output's columns, in order."""
        return [column.name for column in self.columns if column.kept]

    def input_columns(self) -> list[str]:
        """Names of the columns that it reads: those of the output, and those that say whose a date
        is or which names a text may contain."""
        kept = [column for column in self.columns if column.kept]
        more = [name for column in kept for name in column.reads]
        return list(dict.fromkeys([*(column.name for column in kept), *more]))

    def apply(self, data: Any, keys: KeyRing, vault: TokenVault | None = None) -> Any:
        """Anonymize rows; returns what it was given: a pandas or polars frame, an Arrow table
        or a record batch.

        Rows whose quasi-identifiers fall in no released class are left out, or refused if the policy
        says so (``privacy.unseen``). ``vault`` gives random codes, if a column of the plan needs them.

        :raises GuaranteeNotMet: if such rows are refused, and there are some.
        :raises UsageError: if the plan needs a vault.
        :raises ColumnMissing: if a column of the plan is missing.
        :raises UndeclaredColumn: if there is a column that the plan does not know.
        :raises ColumnType: if a column has another type than the plan was fitted on.
        :raises KeyNotFound: if a key version is not in the ring or is destroyed.
        """
        table, give_back = _frames.to_arrow(data)
        batches = table.combine_chunks().to_batches() or [_empty(table.schema)]
        done = [self.apply_batch(batch, keys, vault) for batch in batches]
        return give_back(pa.Table.from_batches(done))

    def apply_batch(
        self, batch: pa.RecordBatch, keys: KeyRing, vault: TokenVault | None = None
    ) -> pa.RecordBatch:
        """`apply` for one record batch: the pure function itself."""
        result, released = self.transform_batch(batch, keys, vault)
        if self.refuses_unseen and (unseen := batch.num_rows - (pc.sum(released).as_py() or 0)):
            raise GuaranteeNotMet(
                f"{unseen} of {batch.num_rows} rows have quasi-identifiers that no class of the plan covers, and the "
                "policy refuses them (privacy.unseen); fit the plan again"
            )
        return nested(result.filter(released), self.nested)

    def transform_batch(
        self, batch: pa.RecordBatch, keys: KeyRing, vault: TokenVault | None = None
    ) -> tuple[pa.RecordBatch, pa.BooleanArray]:
        """Every row transformed, and whether each row is in a released class; nested columns are
        transformed leaf by leaf."""
        if self.nested:
            batch = flattened(batch, [column.name for column in self.columns])
        self._check_columns(batch.schema.names)

        def key_of(name: str, version: int) -> Key:
            return self._key(keys, name, version)

        if self._matcher is not None:
            return self._recode_by_class(batch, key_of, vault, self._matcher)
        names, arrays = [], []
        labels: dict[str, pa.Array] = {}
        for column in self.columns:
            if not column.kept:
                continue
            array = column.transform(batch, key_of, vault)
            if column.role == "quasi-identifying" and pa.types.is_floating(array.type):
                # One class, one spelling: -0.0 must not single anybody out among 0.0.
                array = pc.add(array, pa.scalar(0.0, array.type))
            if self.classes and column.name in self.classes.columns:
                labels[column.name] = hierarchies.label(hierarchies.Fixed(), array, 0, column.name)
            names.append(column.name)
            arrays.append(array)
        result = pa.RecordBatch.from_arrays(arrays, names=names)
        return result, pa.array(self._released(labels, batch.num_rows))

    def _recode_by_class(
        self,
        batch: pa.RecordBatch,
        key_of: KeyOf,
        vault: TokenVault | None,
        matcher: LocalMatcher | RegionMatcher,
    ) -> tuple[pa.RecordBatch, pa.BooleanArray]:
        arrays: dict[str, pa.Array] = {}
        for column in self.columns:
            if column.kept:
                recoded = column.method == "generalize"
                by_class = recoded and column.action["level"] in (LOCAL, MULTIDIMENSIONAL)
                arrays[column.name] = (
                    column.values(batch) if by_class else column.transform(batch, key_of, vault)
                )
        labels, released = matcher.match([arrays[name] for name in matcher.names])
        arrays.update(zip(matcher.names, labels, strict=True))
        result = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
        return result, pa.array(released)

    @cached_property
    def _matcher(self) -> LocalMatcher | RegionMatcher | None:
        """Finds the class of a row, if the cells of a row depend on its class."""
        if self.classes is not None and self.classes.regions is not None:
            return RegionMatcher(self.classes.columns, self.classes.regions)
        if self.classes is None or self.classes.steps is None:
            return None
        actions = {column.name: column.action for column in self.columns}
        of_columns = tuple(
            hierarchies.from_json(actions[name]["hierarchy"])
            if actions[name].get("level") == LOCAL
            else hierarchies.Fixed()
            for name in self.classes.columns
        )
        return LocalMatcher(self.classes.columns, of_columns, self.classes.steps)

    def needs_vault(self) -> bool:
        """Whether a column gets random codes."""
        return any(column.takes_vault for column in self.columns)

    def _key(self, keys: KeyRing, name: str, version: int) -> Key:
        if (name, version) not in self._keys:
            self._keys[name, version] = keys.version(name, version)
        return self._keys[name, version]

    def _check_columns(self, present: list[str]) -> None:
        planned = {column.name for column in self.columns}
        # A column that is dropped may be absent: at inference nobody sends names.
        needed = set(self.input_columns())
        if missing := needed - set(present):
            raise ColumnMissing.among(missing, present, f"of the plan for {self.dataset}", planned)
        if not self.drop_unlisted and (extra := set(present) - planned):
            raise UndeclaredColumn.found(
                extra, "given to the plan", f"of {self.dataset}", present, planned
            )

    def _released(self, labels: Mapping[str, pa.Array], rows: int) -> np.ndarray[Any, Any]:
        """Whether each row's labels are those of a released class."""
        prefix = np.zeros(rows, np.int64)
        alive = np.ones(rows, bool)
        if self.classes is None:
            return alive
        for name, (values, width, known) in zip(self.classes.columns, self._index, strict=True):
            codes = pc.index_in(labels[name], values)
            alive &= np.asarray(codes.is_valid().to_numpy(zero_copy_only=False), bool)
            wanted = prefix * width + codes.fill_null(0).to_numpy(zero_copy_only=False)
            prefix = np.searchsorted(known, wanted)
            alive &= known[np.minimum(prefix, len(known) - 1)] == wanted if len(known) else False
            prefix[~alive] = 0
        return alive

    @cached_property
    def _index(self) -> list[tuple[pa.Array, int, np.ndarray[Any, Any]]]:
        """For each column: its labels, their number, and the sorted codes of known prefixes.

        Prefixes are renumbered column by column, so that no product of cardinalities overflows.
        """
        assert self.classes is not None
        index = []
        prefix = np.zeros(len(self.classes.labels), np.int64)
        for i in range(len(self.classes.columns)):
            column = pa.array([labels[i] for labels in self.classes.labels], pa.string())
            encoded = column.dictionary_encode(null_encoding="encode")
            width = max(1, len(encoded.dictionary))
            codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)
            known, prefix = np.unique(prefix * width + codes, return_inverse=True)
            index.append((encoded.dictionary, width, known))
        return index

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "format": FORMAT,
            "policy": self.policy_digest,
            "dataset": self.dataset,
            "unlisted_columns": "drop" if self.drop_unlisted else "refuse",
            "subject": dict(self.subject) if self.subject else None,
            **({"unseen": "refuse"} if self.refuses_unseen else {}),
            **({"nested": list(self.nested)} if self.nested else {}),
            "columns": [
                {
                    "name": column.name,
                    "type": column.type,
                    "role": column.role,
                    "category": column.category,
                    "action": dict(column.action),
                }
                for column in self.columns
            ],
            "classes": {
                "k": self.classes.k,
                "columns": list(self.classes.columns),
                **_released_json(self.classes),
            }
            if self.classes
            else None,
            "achieved": dict(self.achieved),
        }

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """Read plain data.

        :raises PlanError: if it is not a plan of this format.
        """
        try:
            if data["format"] != FORMAT:
                raise PlanError(f"not a plan of format {FORMAT}")
            classes = data["classes"]
            return cls(
                policy_digest=data["policy"],
                dataset=data["dataset"],
                drop_unlisted=data["unlisted_columns"] == "drop",
                subject=data["subject"],
                refuses_unseen=data.get("unseen") == "refuse",
                nested=tuple(data.get("nested", ())),
                columns=tuple(
                    PlannedColumn(c["name"], c["type"], c["role"], c["category"], c["action"])
                    for c in data["columns"]
                ),
                classes=ReleasedClasses(
                    classes["k"],
                    tuple(classes["columns"]),
                    tuple(tuple(labels) for labels in classes.get("released", ())),
                    _steps(classes["steps"]) if "steps" in classes else None,
                    Regions.from_json(classes["regions"]) if "regions" in classes else None,
                )
                if classes
                else None,
                achieved=data["achieved"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(f"not a plan of format {FORMAT} ({type(error).__name__})") from None

    def save(self, place: Artifact | Path, *keys: Key) -> None:
        """Write the plan, signed by keys of the ring."""
        envelope = sign_payload(self.canonical(), _PAYLOAD_TYPE, *keys)
        document = {
            "format": SIGNED_FORMAT,
            "plan": self.to_json(),
            "signatures": envelope["signatures"],
        }
        text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
        artifact = as_artifact(place)
        artifact.make_folder()
        artifact.write_bytes(f"{text}\n".encode())

    @classmethod
    def load(cls, place: Artifact | Path, trusted: VerificationKeys) -> Plan:
        """Read a signed plan.

        :raises PlanError: if the file is missing or not a signed plan.
        :raises SignatureInvalid: if no trusted key signed exactly this plan.
        """
        artifact = as_artifact(place)
        path = artifact.uri
        try:
            document = json.loads(artifact.read_bytes())
            if document["format"] != SIGNED_FORMAT:
                raise ValueError
            plan, signatures = cls.from_json(document["plan"]), document["signatures"]
            payload = plan.canonical()
        except DatasetNotFound:
            raise PlanError(f"no plan at {path}") from None
        except DatasetError as error:
            raise PlanError(f"the plan cannot be read: {error}") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(f"{path} is not a signed plan ({SIGNED_FORMAT})") from None
        envelope = {
            "payloadType": _PAYLOAD_TYPE,
            "payload": base64.b64encode(payload).decode(),
            "signatures": signatures,
        }
        try:
            verify_payload(envelope, _PAYLOAD_TYPE, trusted)
        except SignatureInvalid:
            raise SignatureInvalid(
                f"{path}: no trusted key signed this plan as it stands"
            ) from None
        return plan


def _released_json(classes: ReleasedClasses) -> dict[str, Any]:
    if classes.regions is not None:
        return {"regions": classes.regions.to_json()}
    if classes.steps is None:
        return {"released": [list(labels) for labels in classes.labels]}
    return {
        "steps": [
            {"levels": list(step.levels), "released": [list(labels) for labels in step.labels]}
            for step in classes.steps
        ]
    }


def _steps(data: Any) -> tuple[ReleasedStep, ...]:
    return tuple(
        ReleasedStep(tuple(step["levels"]), tuple(tuple(labels) for labels in step["released"]))
        for step in data
    )


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
