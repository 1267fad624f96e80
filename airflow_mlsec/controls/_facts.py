"""What controls know of everything at once: the register, read once for all of them, and what people have declared.

Every part is read when the first control asks for it. What cannot be read raises, and the controls that asked are
unknown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from airflow_mlsec.access import (
    Review,
    Standing,
    grants_digest,
    is_unchanged,
    read_grants,
    reviews,
    standing,
    still_holds,
)
from airflow_mlsec.connections import connections_in_use
from airflow_mlsec.controls._control import Control
from airflow_mlsec.controls._known import (
    ApiKeyFacts,
    HoldFacts,
    LogFacts,
    RingKey,
)
from airflow_mlsec.controls._law import law
from airflow_mlsec.controls.reasons import HalfDone, NotSigned, WrittenSince
from airflow_mlsec.crypto import KeyRing, KeyState
from airflow_mlsec.datasets import DatasetName, EnvironmentConnections
from airflow_mlsec.errors import CheckFailed, MlsecError, UsageError
from airflow_mlsec.key_ring import existing_key_ring
from airflow_mlsec.ledger import (
    DEPLOYMENT,
    Act,
    ArtifactStatement,
    Asset,
    AssetKind,
    Audit,
    Finding,
    InForce,
    Reason,
    ReleaseStatement,
    Rules,
    acts,
    kept_rules,
    last_findings,
    log_verifiers,
    rules_in_force,
    verify_register,
)
from airflow_mlsec.lineage import (
    APPROVED,
    ARTIFACT,
    BOUND,
    RELEASE,
    DatasetFacts,
    State,
    announced_only,
    artifact_statements,
    is_approved,
    latest_releases,
    overwritten,
    read_datasets,
    releases_not_signed,
    verify_evidence,
)
from airflow_mlsec.policy import (
    APPLICABILITY,
    ASSESSMENTS,
    Organization,
    Policy,
    is_pattern,
    load_organization,
    matches,
)
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import (
    Calendar,
    ExportAnnounced,
    Request,
    calendar_of,
    letters_expected,
    letters_sent,
    list_requests,
)


@dataclass(frozen=True)
class BoundPolicy:
    """The policy that was bound for a dataset, what it loosened, and whether two people have approved that."""

    policy: str
    looser: tuple[str, ...]
    approved: bool
    unbroken: bool = True


@dataclass(frozen=True)
class Facts:
    """Everything that is known on a day.

    :ivar parameters: Numbers that the organization has set, by control.
    :ivar verify_log: Verifies the audit log; None where no key ring is at hand.
    :ivar ring: Opens the key ring in use; None where there is none at hand.
    """

    register: Register
    settings: Settings
    organization: Organization
    on: date
    parameters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    verify_log: Callable[[], Audit] | None = None
    ring: Callable[[], KeyRing] | None = None
    _grants: dict[str, str | None] = field(default_factory=dict, repr=False)
    _campaigns: dict[int, bool | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        settings: Settings,
        register: Register,
        on: date | None = None,
        parameters: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Facts:
        """What is known in this installation.

        :raises PolicyError: if the file that says who we are is not valid.
        """

        def verify_log() -> Audit:
            ring = existing_key_ring(settings, register)
            return verify_register(register, log_verifiers(register, ring))

        day = on or date.fromisoformat(register.now()[:10])
        organization = load_organization(settings.organization)

        def ring() -> KeyRing:
            return existing_key_ring(settings, register)

        return cls(register, settings, organization, day, parameters or {}, verify_log, ring)

    @classmethod
    def of_policies(
        cls,
        policies: Iterable[tuple[DatasetName, Policy]],
        settings: Settings,
        on: date,
        parameters: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Facts:
        """What policies say, where there is no register: only what controls ask of policies and of the organization is
        known, and anything else is an error."""
        organization = load_organization(settings.organization)
        found = cls(_no_register(), settings, organization, on, parameters or {})
        found.__dict__["datasets"] = tuple(
            DatasetFacts(
                number, name, "table", None, "source", policy.digest, policy.canonical_data(), State.IDENTIFIED, {}, frozenset(), "",
            )
            for number, (name, policy) in enumerate(policies, 1)
        )  # fmt: skip
        return found

    @property
    def deployment(self) -> str:
        """The name of this deployment as an asset."""
        return DEPLOYMENT.name

    def number(self, control: Control, name: str) -> int:
        """A parameter of a control: the organization's, else the control's own."""
        return self.parameters.get(control.id, {}).get(name, control.parameters[name])

    def days_since(self, moment: str) -> int:
        """Full days from a moment of the register to the day in question."""
        days = (self.on - datetime.fromisoformat(moment).date()) // timedelta(days=1)
        if days < -1:  # clocks, and days in other time zones, differ
            raise CheckFailed(
                f"the register has a moment after {self.on}: a clock is wrong, or somebody wrote it"
            )
        return days

    @cached_property
    def now(self) -> datetime:
        """The register's clock, on the day in question."""
        now = datetime.fromisoformat(self.register.now())
        return now if now.date() == self.on else datetime.combine(self.on, now.timetz())

    @cached_property
    def datasets(self) -> tuple[DatasetFacts, ...]:
        """Every dataset, model and artifact."""
        return tuple(self.register.read(read_datasets))

    @cached_property
    def by_id(self) -> Mapping[int, DatasetFacts]:
        """Datasets by their ids."""
        return {dataset.id: dataset for dataset in self.datasets}

    @cached_property
    def by_name(self) -> Mapping[DatasetName, DatasetFacts]:
        """Datasets by their names."""
        return {dataset.name: dataset for dataset in self.datasets}

    @cached_property
    def declared(self) -> str:
        """SHA-256, hexadecimal, of what people state: policies, the organization's file, what they have written for documents, and
        the law catalogue's version. If it is another than before, what was written from them may be out of date."""
        policies = {
            json.dumps([str(d.policy["dataset"]) if is_pattern(str(d.policy["dataset"])) else str(d.name), d.policy_digest or d.policy], sort_keys=True)
            for d in self.sources
            if d.policy is not None
        }  # fmt: skip
        folder: Path = self.settings.organization.parent
        papers = [
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            for path in (folder / ASSESSMENTS, folder / APPLICABILITY)
        ]
        stated = [
            sorted(policies),
            self.organization.model_dump(mode="json"),
            papers,
            law().version,
        ]
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()

    @property
    def sources(self) -> list[DatasetFacts]:
        """Datasets that a policy declares."""
        return [dataset for dataset in self.datasets if dataset.is_source]

    @cached_property
    def releases(self) -> Mapping[int, ReleaseStatement | Reason]:
        """By dataset id: the newest published statement about a release, or why nothing can be said of what is there now: it
        is not signed by a trusted key, another run has written there since, or a newer release is half done."""

        def work(connection: sa.Connection) -> dict[int, ReleaseStatement | Reason]:
            found: dict[int, ReleaseStatement | Reason] = {**latest_releases(connection)}
            found |= dict.fromkeys(releases_not_signed(connection), NotSigned())
            found |= dict.fromkeys(overwritten(connection) & {*found}, WrittenSince())
            return found | dict.fromkeys(announced_only(connection, RELEASE), HalfDone())

        return self.register.read(work)

    def about_releases(self) -> Iterator[tuple[str, ReleaseStatement | Reason]]:
        """The name of each release, and what is signed about it, or why nothing can be said of it."""
        for dataset in self.datasets:
            if dataset.id in self.releases or dataset.stage == "release":
                yield str(dataset.name), self.releases.get(dataset.id, NotSigned())

    def source_of(self, statement: ReleaseStatement) -> DatasetFacts | None:
        """The dataset that a release was made from, as it is known now."""
        return self.by_name.get(DatasetName(statement.source.namespace, statement.source.name))

    @cached_property
    def evidence(self) -> tuple[int, int]:
        """How many statements there are, and how many are not what a trusted key has signed."""
        statements, broken = verify_evidence(self.register)
        return statements, len(broken)

    @cached_property
    def artifacts(self) -> Mapping[int, ArtifactStatement | Reason]:
        """By dataset id: the newest published statement about an artifact, or why nothing can be said of what is there."""

        def work(connection: sa.Connection) -> dict[int, ArtifactStatement | Reason]:
            signed = artifact_statements(connection)
            found = {n: NotSigned() if said is None else said for n, said in signed.items()}
            return found | dict.fromkeys(announced_only(connection, ARTIFACT), HalfDone())

        return self.register.read(work)

    @cached_property
    def encrypted_before(self) -> Mapping[int, int]:
        """By dataset id of an artifact: the newest run that was known when its newest statement was recorded."""
        e = t.evidence.c
        query = sa.select(e.dataset_id, sa.func.max(e.after_run).label("run"))
        of_artifacts = e.predicate_type == ARTIFACT, e.outcome == "published"
        rows = self.register.rows(query.where(*of_artifacts).group_by(e.dataset_id))
        return {row.dataset_id: row.run for row in rows if row.run is not None}

    @cached_property
    def last_written(self) -> Mapping[int, int]:
        """By dataset id: the newest run that has written it."""
        touched = t.run_dataset.c
        query = sa.select(touched.dataset_id, sa.func.max(touched.run_id).label("run"))
        rows = self.register.rows(
            query.where(touched.direction == "output").group_by(touched.dataset_id)
        )
        return {row.dataset_id: row.run for row in rows}

    @cached_property
    def findings(self) -> Mapping[tuple[Asset, str], Finding]:
        """The last answer to each question that was ever asked about an asset."""
        return {(found.asset, found.control): found for found in self.register.read(last_findings)}

    def finding(self, kind: AssetKind, name: str, control: str) -> Finding | None:
        """The last answer to one question."""
        return self.findings.get((Asset(kind, name), control))

    @cached_property
    def _changes_of_policies(self) -> tuple[Mapping[str, list[Act]], Mapping[str, list[Act]]]:
        """The policies that were bound, and approvals, by what they are for, in order."""
        bound: dict[str, list[Act]] = {}
        approved: dict[str, list[Act]] = {}
        for act in self.register.read(lambda c: acts(c, verb=(BOUND, APPROVED))):
            (bound if act.verb == BOUND else approved).setdefault(act.asset.name, []).append(act)
        return bound, approved

    @cached_property
    def bound(self) -> Mapping[str, BoundPolicy]:
        """By name of a dataset: the policy that was bound last, as the ledger says, what it loosened, whether two people have
        approved that, and whether each policy was bound in place of the one before."""
        bound, _ = self._changes_of_policies
        found = {}
        for name, every in bound.items():
            last = every[-1].evidence
            digest = str(last.get("policy"))
            unbroken = all(
                after.evidence.get("instead_of") in (before.evidence.get("policy"), None)
                for before, after in pairwise(every)
            )
            given = self._approvals_of(name, digest, last.get("instead_of"))
            found[name] = BoundPolicy(digest, tuple(last.get("loosened") or ()), is_approved(given), unbroken)  # fmt: skip
        return found

    def _approvals_of(self, name: str, policy: str, instead_of: object = ...) -> list[Act]:
        """Approvals of a dataset's policy: also those for all that it covers."""
        _, approved = self._changes_of_policies
        units = [name, *(unit for unit in approved if is_pattern(unit) and matches(unit, name))]
        return [
            act
            for unit in units
            for act in approved.get(unit, ())
            if act.evidence.get("policy") == policy
            and (instead_of is ... or act.evidence.get("instead_of") == instead_of)
        ]

    def approved_by(self, dataset: DatasetFacts) -> tuple[str, ...]:
        """Who has approved a dataset's policy, if its owner and another person have; else nobody."""
        given = self._approvals_of(str(dataset.name), str(dataset.policy_digest))
        return tuple(a.by for a in given) if is_approved(given) else ()

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """All data-subject requests."""
        return tuple(list_requests(self.register))

    @cached_property
    def handed_over(self) -> frozenset[int]:
        """Requests for which data was ever handed over: what a request says of it now may have been taken back since."""
        a = t.act.c
        announced = sa.cast(a.reasons, sa.Text).contains(ExportAnnounced.code)
        query = sa.select(a.request_id).where(announced, a.request_id.is_not(None)).distinct()
        return frozenset(row.request_id for row in self.register.rows(query))

    @cached_property
    def calendar(self) -> Calendar:
        """The controller's."""
        return calendar_of(self.register)

    def letters_expected(self, request: Request) -> list[tuple[str, date, date | None]]:
        """Letters that the law asks for, by which day, and the day on which they were sent, if they were."""
        return letters_expected(self.register, request, self.calendar)

    def letters_sent(self, request: Request) -> list[tuple[str, str]]:
        """Letters of a request that were sent, and on which day."""
        return letters_sent(self.register, request.id)

    @cached_property
    def reviews(self) -> tuple[Review, ...]:
        """Access reviews, the newest first."""
        return tuple(reviews(self.register))

    @cached_property
    def kept_rules(self) -> Rules:
        """The rules that the register keeps: whoever asks for looser or stricter ones does not change them."""
        return kept_rules(self.register)

    @cached_property
    def rules(self) -> InForce:
        """The rules for decisions."""
        return rules_in_force(self.register)

    @cached_property
    def ring_keys(self) -> tuple[RingKey, ...]:
        """The enabled versions of the keys of the ring in use, the oldest first, as the ring itself says when they were made.

        :raises CheckFailed: if there is no ring at hand: the register knows only when it first saw a key.
        """
        if self.ring is None:
            raise CheckFailed("there is no key ring here")
        entries = [e for e in self.ring().entries() if e.state is KeyState.ENABLED]
        return tuple(RingKey(e.name, e.version, e.created) for e in entries)

    def grants_digest(self, location: str) -> str | None:
        """The digest of who can reach a location now; None if that cannot be read here."""
        if location not in self._grants:
            try:
                self._grants[location] = grants_digest(read_grants(location))
            except (MlsecError, OSError):
                self._grants[location] = None
        return self._grants[location]

    def campaign_holds(self, review: Review) -> bool | None:
        """Whether nobody can do anything now that a completed campaign did not keep; None if that cannot be read here."""
        if review.id not in self._campaigns:
            self._campaigns[review.id] = is_unchanged(self.register, review) and still_holds(
                self.register,
                review,
                self.organization,
                connections_in_use() or EnvironmentConnections(),
            )
        return self._campaigns[review.id]

    @cached_property
    def access(self) -> Standing:
        """Who can reach personal data, as the newest snapshots of the systems say."""
        connections = connections_in_use() or EnvironmentConnections()
        return standing(self.register, self.organization, self.on, connections)

    def knows(self, asset: Asset) -> bool:
        """Whether an asset is still there, as far as is known."""
        if asset.kind in (AssetKind.DATASET, AssetKind.MODEL, AssetKind.ARTIFACT):
            return asset.name in self._names
        if asset.kind is AssetKind.REQUEST:
            return any(str(request.id) == asset.name for request in self.requests)
        return False

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(str(dataset.name) for dataset in self.datasets)

    @cached_property
    def api_keys(self) -> tuple[ApiKeyFacts, ...]:
        """Keys with which programs send events and that were not revoked."""
        a = t.api_key.c
        rows = self.register.rows(sa.select(t.api_key).where(a.revoked_at.is_(None)))
        return tuple(
            ApiKeyFacts(
                row.name, row.created_at,
                None if row.namespaces is None else tuple(row.namespaces), row.expires_at, row.events_per_hour,
            )
            for row in rows
        )  # fmt: skip

    @cached_property
    def holds(self) -> tuple[HoldFacts, ...]:
        """Legal holds that have not ended."""
        h = t.legal_hold.c
        query = sa.select(h.id, h.placed_at, h.placed_by).where(h.released_at.is_(None))
        return tuple(
            HoldFacts(row.id, row.placed_at, row.placed_by)
            for row in self.register.rows(query.order_by(h.id))
        )

    @cached_property
    def held_events(self) -> tuple[str, ...]:
        """When each lineage event in quarantine was received."""
        q = t.quarantine.c
        query = sa.select(q.received_at).where(q.status == "held").order_by(q.received_at)
        return tuple(row.received_at for row in self.register.rows(query))

    @cached_property
    def open_alerts(self) -> tuple[str, ...]:
        """When each alert was sent that no recovery has followed."""
        a = t.alert.c
        query = sa.select(a.sent_at).where(a.recovered_at.is_(None)).order_by(a.sent_at)
        return tuple(row.sent_at for row in self.register.rows(query))

    @cached_property
    def log(self) -> LogFacts:
        """The audit log."""

        def work(connection: sa.Connection) -> LogFacts:
            size = connection.execute(sa.select(t.log.c.size)).scalar_one()
            c = t.log_checkpoint.c
            signed = connection.execute(
                sa.select(c.size, c.signed_at).order_by(c.size.desc())
            ).first()
            return LogFacts(int(size), signed and int(signed.size), signed and signed.signed_at)

        return self.register.read(work)


class _NoRegister:
    """Where there is no register, nothing can be read from it."""

    def __getattr__(self, name: str) -> Any:
        raise UsageError("there is no register here: only policies are looked at")


def _no_register() -> Register:
    return cast(Register, _NoRegister())
