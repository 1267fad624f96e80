"""The whole process from a source to a verified, published release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from airflow_mlsec.anonymize._coding import one_zero
from airflow_mlsec.anonymize._counting import Population, labelled_population
from airflow_mlsec.anonymize._fit import check_columns, fit_plan, without_dictionaries
from airflow_mlsec.anonymize._nested import Flattened, flat_schema, nested, taken_apart
from airflow_mlsec.anonymize._plan import Plan
from airflow_mlsec.anonymize._stopwatch import Stopwatch, peak_memory_mib
from airflow_mlsec.anonymize._vault import DryVault
from airflow_mlsec.anonymize.risk._membership import MembershipCollector
from airflow_mlsec.crypto import KeyRing, digest_stream
from airflow_mlsec.datasets import (
    Artifact,
    Dataset,
    as_artifact,
    same_place,
    staging_beside,
)
from airflow_mlsec.errors import GuaranteeNotMet, PlanError, UsageError
from airflow_mlsec.ledger import SIGNING_KEY, Check, MembershipList, Numbers, ReleaseResult
from airflow_mlsec.policy import Policy, Role, TokenVault
from airflow_mlsec.values import NormalForm
from airflow_mlsec.verify import Finding, PeopleCounter, verify_release

if TYPE_CHECKING:
    from airflow_mlsec.anonymize._spark import SparkEngine

_STEPS = ("scan", "aggregate", "fit", "apply", "verify", "write")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """What was done, in numbers. Contains no value of the data."""

    plan: Plan
    rows: int
    released: int
    suppressed: int
    subjects: int | None
    findings: tuple[Finding, ...]
    timings_ms: dict[str, float] = field(default_factory=dict)
    membership: Artifact | None = None
    published: bool = True
    persons: int | None = None
    several_spellings: int | None = None
    fitted: bool = True

    @property
    def smallest(self) -> int | None:
        """The fewest persons of a released class (rows, if the policy names no person), as the checker counted
        them: in the output, not in the data that a plan was fitted to."""
        counted = [int(f.figure) for f in self.findings if f.figure is not None]
        return min(counted) if counted else None

    def summary(self) -> dict[str, Any]:
        """A short account for XCom and logs."""
        return {
            "rows": self.rows,
            "released": self.released,
            "suppressed": self.suppressed,
            "k_anonymity": self.smallest,
            "ncp": self._achieved("ncp")["ncp"],
            "columns": len(self.plan.output_columns()),
            "plan": self.plan.digest,
            "published": self.published,
        }

    def numbers(self) -> Numbers:
        """What evidence says about the outcome."""
        return Numbers(
            rows=self.rows,
            released=self.released,
            suppressed=self.suppressed,
            subjects=self.subjects,
            k_anonymity=self.smallest,
            persons=self.persons,
            persons_in_several_spellings=self.several_spellings,
        )

    def checks(self) -> tuple[Check, ...]:
        """What the independent checker found."""
        return tuple(Check(check=f.check, passed=f.passed, detail=f.detail) for f in self.findings)

    def membership_reference(self) -> MembershipList | None:
        """Path and SHA-256 of the membership list, for the evidence."""
        if self.membership is None:
            return None
        with self.membership.open() as file:
            return MembershipList(path=self.membership.uri, sha256=digest_stream(file))

    def result(self, run: str | None, purpose: str | None = None) -> ReleaseResult:
        """What evidence is made of; ``run`` is the run's label, ``purpose`` what the release is for."""
        given = self.numbers(), self.checks(), run, self.membership_reference(), purpose
        return ReleaseResult(self.plan.to_json(), self.plan.digest, *given)

    def report(self) -> dict[str, Any]:
        """The full account, for a report file."""
        return {
            "format": "airflow-mlsec/anonymization-report/1",
            **self.summary(),
            "subjects": self.subjects,
            "achieved": dict(self.plan.achieved) if self.fitted else {},
            "loss": self._achieved(
                "ncp", "discernibility", "average_class_size", "kl_divergence", "loss_by_column"
            ),
            "risk": self._achieved("highest_risk", "average_risk"),
            "checks": [check.model_dump() for check in self.checks()],
            "timings_ms": self.timings_ms,
            "peak_memory_mib": peak_memory_mib(),
        }

    def _achieved(self, *names: str) -> dict[str, Any]:
        # The figures of a given plan are those of the data that it was fitted to.
        return {name: self.plan.achieved.get(name) if self.fitted else None for name in names}


# Called with a release, its schema and its digest, before it is published.
Announce = Callable[[Release, tuple[pa.Schema, str | None]], None]


def anonymize(
    policy: Policy,
    source: Dataset,
    target: Dataset,
    keys: KeyRing,
    *,
    plan: Plan | None = None,
    plan_path: Artifact | Path | None = None,
    membership_path: Artifact | Path | None = None,
    vault: TokenVault | None = None,
    population: Dataset | None = None,
    engine: Literal["local", "spark"] = "local",
    dry_run: bool = False,
    progress: Progress = lambda message: None,
    announce: Announce | None = None,
    allow_empty: bool = False,
) -> Release:
    """Anonymize ``source`` into ``target`` as ``policy`` says.

    Without ``plan`` one is fitted, signed, and saved at ``plan_path`` if that is given. The output
    is staged, verified by an independent checker, and only then published; the plan and the
    membership list are written before that, so that no release is without them. ``announce`` is
    called immediately before publication, with the release, its schema and its digest; if it fails,
    nothing is published. ``allow_empty`` allows a release without any row.
    ``vault`` gives random codes, if the policy asks for them; ``population`` is the dataset that the
    policy names, if it names one. With ``engine`` spark, rows are counted and transformed by Spark
    jobs; the plan, the checks and the publication are the same. ``dry_run`` does everything except
    writing.

    :raises UsageError: if source and target are the same, or the engine does not support the task.
    :raises PlanError: if ``plan`` was fitted for another policy.
    :raises GuaranteeNotMet: if the output does not keep what the policy promises.
    """
    if same_place(source, target):
        raise UsageError(f"source and target are the same dataset: {source.uri}")
    watch = Stopwatch(*_STEPS)
    whole = without_dictionaries(source.schema())
    schema = flat_schema(whole, policy.columns)
    check_columns(policy, schema, source.uri)
    apart = bool(taken_apart(whole, policy.columns))
    if not apart and not dry_run:
        # Before hours of work.
        left = [name for name, column in policy.columns.items() if not column.dropped]
        target.require_replaceable(left)
    rows = Flattened(source, tuple(policy.columns)) if apart else source
    if apart and engine == "spark":
        raise UsageError("only the local engine supports paths into nested columns")
    people = Population(population.schema(), population.scan) if population else None
    given = plan is not None
    spark = _spark_engine(source, policy) if engine == "spark" else None
    if plan is None:
        scan = source.scan if spark is None else spark.scan
        plan = fit_plan(policy, whole, scan, keys, progress, watch, people, spark)
    elif plan.policy_digest != policy.digest:
        raise PlanError(
            f"the plan was fitted for another version of policy {policy.source}; fit it again"
        )
    if plan.needs_vault() and vault is None and not dry_run:
        raise UsageError("the policy asks for random codes: give the token vault (RegisterVault)")
    # A dry run leaves no code behind.
    codes = DryVault() if dry_run or vault is None else vault
    if spark is None:
        run: _Run = _Run(rows, plan, keys, policy, codes, watch)
    else:
        run = _SparkRun(source, plan, keys, policy, codes, watch, spark, target)
    run.fitted = not given
    with watch.step("aggregate"):
        run.population = labelled_population(plan, policy, schema, people, keys)
    output = plan.apply_batch(_no_rows(schema, plan), keys, DryVault()).schema
    if dry_run:
        with watch.step("verify"):
            released = run.batches(output, progress)
            findings = tuple(run.verified(output, released))
        _demand(findings, policy)
        run.demand_seen(given, policy, allow_empty)
        return run.release(findings, None, published=False)
    signing = keys.signing_keys(SIGNING_KEY)
    if policy.membership == "keep" and policy.subject and membership_path:
        run.members = MembershipCollector(
            policy.subject.kind, policy.subject.key, keys, NormalForm.of_policy(policy)
        )
    with watch.step("write"), target.replacing(output) as staged:
        for batch in run.batches(output, progress):
            staged.write(batch)
        progress("verifying the staged output")
        with watch.step("verify"):
            findings = tuple(run.verified(output, staged.scan()))
        _demand(findings, policy)
        run.demand_seen(given, policy, allow_empty)
        run.demand_counted()
        if plan_path is not None:
            plan.save(plan_path, *signing)
        saved = None
        if run.members is not None and membership_path is not None:
            saved = as_artifact(membership_path)
            run.members.save(saved)
        release = run.release(findings, saved, published=True)
        staged.reserve()
        if announce is not None:
            try:
                announce(release, (output, staged.digest()))
            except BaseException:
                # No evidence names it, and people in it may have been erased.
                if saved is not None:
                    saved.remove()
                raise
    return replace(release, timings_ms=run.release(findings, saved, published=True).timings_ms)


class _Run:
    """Applies the plan while counting, and collects the members of the released rows."""

    def __init__(
        self,
        source: Dataset | Flattened,
        plan: Plan,
        keys: KeyRing,
        policy: Policy,
        vault: TokenVault,
        watch: Stopwatch,
    ) -> None:
        self._source, self._vault, self._watch = source, vault, watch
        self._plan = plan
        self._policy = policy
        self._keys = keys
        self.read_back = 0
        self._subject_key = policy.subject.key if policy.subject else None
        # For each protected column, how many rows have each value, also suppressed rows.
        self.whole: dict[str, pa.Table] = {}
        # How many people of the population have each combination of labels.
        self.population: tuple[pa.Table, pa.Array] | None = None
        self._protected = policy.privacy.protected
        self.fitted = True
        self.members: MembershipCollector | None = None
        # Whose the released rows are, if a model counts persons.
        self.people: PeopleCounter | None = None
        if policy.subject is not None and policy.privacy.class_size is not None:
            names = policy.with_role(Role.QUASI_IDENTIFYING)
            quasi = [n for n in names if n in plan.output_columns()]
            self.people = PeopleCounter(quasi, policy.subject, policy.privacy.protected)
        self.rows = 0
        self.released = 0

    def batches(self, output: pa.Schema, progress: Progress) -> Iterator[pa.RecordBatch]:
        """The released rows, with the schema ``output``."""
        del output  # it follows from the plan
        wanted = self._plan.input_columns()
        key = self._subject_key
        asked = self.members is not None or self.people is not None
        if asked and key is not None and key not in wanted:
            wanted = [*wanted, key]
        for batch in self._watch.each("scan", self._source.scan(wanted)):
            with self._watch.step("apply"):
                done, released = self._plan.transform_batch(batch, self._keys, self._vault)
                if self.members is not None and key is not None:
                    self.members.add(batch.column(key).filter(released))
                self.rows += batch.num_rows
                for name in self._protected:
                    self.whole[name] = _counted(self.whole.get(name), done.column(name))
                result = done.filter(released)
                if self.people is not None and key is not None:
                    self.people.add(done, batch.column(key), released)
                self.released += result.num_rows
            progress(f"{self.rows} rows read, {self.released} released")
            yield nested(result, self._plan.nested)

    def verified(self, output: pa.Schema, released: Iterable[pa.RecordBatch]) -> Iterator[Finding]:
        """What the independent checker finds in the rows that will be published."""
        self.read_back = 0
        given = (self.whole, self.population, self.people)
        yield from verify_release(self._policy, output, self._counted_back(released), *given)

    def _counted_back(self, released: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in released:
            self.read_back += batch.num_rows
            yield batch

    def demand_counted(self) -> None:
        """Refuse to publish if rows were lost on the way: the number of rows read back from what was written must
        be the number released.

        :raises GuaranteeNotMet: if not.
        """
        if self.read_back != self.released:
            raise GuaranteeNotMet(
                f"{self.released} rows were released and {self.read_back} were read back from what was written: rows were "
                "lost or duplicated on the way. Nothing was published"
            )

    def demand_seen(self, given: bool, policy: Policy, allow_empty: bool) -> None:
        """Refuse rows that no class of a given plan covers, if the policy refuses them or if they are more than
        may be suppressed. Also refuse a release without rows.

        :raises GuaranteeNotMet: if it refuses.
        """
        unseen = self.rows - self.released
        limit = policy.privacy.suppression_limit
        if unseen > (allowed := int(limit * self.rows + 1e-9)):
            lost = "would be suppressed"
            why = f"some persons have many rows. Raise `suppression_limit` to {unseen / self.rows:.4f}, or ask for less"
            if given:
                lost = "fall in no class of the given plan"
                why = "the plan was fitted to other data. Fit it again"
            raise GuaranteeNotMet(
                f"{unseen} of {self.rows} rows {lost}, and suppression_limit {limit:g} allows {allowed}: {why}. Nothing was "
                "published"
            )
        if self.rows and not self.released and not allow_empty:
            raise GuaranteeNotMet(
                f"none of {self.rows} rows would be released; an empty release must be requested (allow_empty, "
                "--allow-empty). Nothing was published"
            )
        if given and self._plan.refuses_unseen and unseen:
            raise GuaranteeNotMet(
                f"{unseen} of {self.rows} rows have quasi-identifiers that no class of the plan covers, and the policy "
                "refuses them (privacy.unseen); fit the plan again. Nothing was published"
            )

    def release(
        self,
        findings: tuple[Finding, ...],
        membership: Artifact | None,
        published: bool,
    ) -> Release:
        return Release(
            plan=self._plan,
            rows=self.rows,
            released=self.released,
            suppressed=self.rows - self.released,
            subjects=len(self.members) if self.members is not None else None,
            findings=findings,
            timings_ms=self._watch.milliseconds(),
            membership=membership,
            published=published,
            persons=self.people.fewest()[1] if self.people is not None else None,
            several_spellings=self.several_spellings(),
            fitted=self.fitted,
        )

    def several_spellings(self) -> int | None:
        """How many persons have a key that is written in several ways; None if that is not known."""
        return None if self.people is None else self.people.in_several_spellings()


class _SparkRun(_Run):
    """Lets Spark apply the plan, and passes on what its tasks have written."""

    def __init__(
        self,
        source: Dataset,
        plan: Plan,
        keys: KeyRing,
        policy: Policy,
        vault: TokenVault,
        watch: Stopwatch,
        spark: SparkEngine,
        target: Dataset,
    ) -> None:
        super().__init__(source, plan, keys, policy, vault, watch)
        self._spark, self._target = spark, target
        if self.people is not None:
            # Spark's tasks identify the person of each row by a number.
            self.people = PeopleCounter(self.people.quasi, protected=self._protected)

    def several_spellings(self) -> int | None:
        return None  # Spark's tasks identify persons, but not the spellings of their keys

    def batches(self, output: pa.Schema, progress: Progress) -> Iterator[pa.RecordBatch]:
        with self._watch.step("apply"):
            progress("applying the plan in Spark")
            self.rows = self._spark.rows()
            schema = self._source.schema()
            for name in self._protected:
                self.whole[name] = self._spark.histogram(self._plan, name, schema, self._keys)
            if self.members is not None and self._subject_key is not None:
                self.members.add(self._spark.people(self._plan, self._subject_key, self._keys))
            subject = self._policy.subject if self.people is not None else None
            staging = staging_beside(self._target, self._spark.is_local())
            parts = self._spark.apply(self._plan, self._keys, output, staging, subject)
        try:
            self.released = parts.rows
            read = 0
            for batch, persons in parts.scan():
                read += batch.num_rows
                if self.people is not None and persons is not None:
                    self.people.add(batch, persons)
                progress(f"{self.rows} rows read, {read} of {self.released} released")
                yield batch
        finally:
            parts.remove()


def _spark_engine(source: Dataset, policy: Policy) -> SparkEngine:
    transforms = (column.transform for column in policy.columns.values())
    if any(transform is not None and transform.takes_vault for transform in transforms):
        raise UsageError("random codes must be given by a single process: use the local engine")
    from airflow_mlsec.anonymize._spark import SparkEngine

    return SparkEngine(source)


def _counted(before: pa.Table | None, values: pa.Array) -> pa.Table:
    """Rows by value, including those of one more batch."""
    values = one_zero(values)
    found = pa.table({"value": values, "rows": pa.repeat(pa.scalar(1, pa.int64()), len(values))})
    both = found if before is None else pa.concat_tables([before, found])
    grouped = both.group_by("value").aggregate([("rows", "sum")])
    return grouped.rename_columns(["value", "rows"])


def _no_rows(schema: pa.Schema, plan: Plan) -> pa.RecordBatch:
    names = [c.name for c in plan.columns]
    return pa.RecordBatch.from_arrays(
        [pa.array([], schema.field(n).type) for n in names], names=names
    )


def _demand(findings: tuple[Finding, ...], policy: Policy) -> None:
    failed = [f"{f.check} ({f.detail})" for f in findings if not f.passed]
    if failed:
        raise GuaranteeNotMet(
            f"the output does not keep what policy {policy.source} promises: {'; '.join(failed)}. "
            "Nothing was published"
        )
