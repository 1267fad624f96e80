"""What we sign: predicates of in-toto statements (https://github.com/in-toto/attestation), one model for each.

A predicate's type contains its version. A missing field is refused, and so is a field that the model does not have:
a statement that is only partly understood proves nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from airflow_mlsec.crypto import (
    STATEMENT,
    STATEMENT_TYPE,
    KeyRing,
    Trusted,
    make_statement,
    sign_payload,
    verify_payload,
)
from airflow_mlsec.errors import BrokenLog, SignatureInvalid
from airflow_mlsec.ledger._reason import read_reason

# Under this name a ring has the keys that sign statements.
SIGNING_KEY = "signing"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Predicate(_Model):
    """What a statement says about its subjects."""

    predicate_type: ClassVar[str]


class Place(_Model):
    """A dataset or artifact, by the name that OpenLineage gives it."""

    namespace: str
    name: str


class File(Place):
    """A place, and the SHA-256 of the file there; None if it is not a single file."""

    sha256: str | None = None


class MembershipList(_Model):
    """Where the list of a release's members is, and the SHA-256 of its file."""

    path: str
    sha256: str


class Check(_Model):
    """What the independent checker found."""

    check: str
    passed: bool
    detail: str


class Numbers(_Model):
    """A release's outcome. ``persons`` were counted by the checker. The keys of ``persons_in_several_spellings`` are
    written in several ways, so there are more pseudonyms than persons."""

    rows: int
    released: int
    suppressed: int = 0
    subjects: int | None = None
    k_anonymity: int | None = None
    persons: int | None = None
    persons_in_several_spellings: int | None = None
    removed: int | None = None


class PersonKey(_Model):
    """The column that identified persons, and their kind, according to the policy."""

    kind: str
    key: str
    normalize: str | None = None
    region: str | None = None
    references: dict[str, str] | None = None
    distinguished_by: tuple[str, ...] | None = None
    mentions: dict[str, str] = {}


class ReleasedColumn(_Model):
    """What a column of a release is, and how it came to be."""

    state: Literal["identified", "pseudonymous", "anonymous"]
    role: str
    method: str
    domain: str | None = None
    key: str | None = None
    version: int | None = None
    # The level of a hierarchy, or the name of another recoding.
    level: int | Literal["local", "multidimensional"] | None = None
    normalize: str | None = None


class Claim(_Model):
    """Who claims that a release is anonymous, and why."""

    claimed_by: str
    reason: str


class ReleaseStatement(Predicate):
    """States that a dataset was made from a source by a plan, and what was found in it."""

    predicate_type = "https://airflow-mlsec.github.io/release/v1"

    source: Place
    target: File
    policy: str
    plan: str
    numbers: Numbers
    checks: tuple[Check, ...]
    columns: dict[str, ReleasedColumn]
    issued_at: str
    run: str | None = None
    subject: PersonKey | None = None
    membership: MembershipList | None = None
    # The key ring's identity, and fingerprints of the key versions that were used, by ``name/version``.
    ring: str | None = None
    keys: dict[str, str] = {}
    anonymity: Claim | None = None
    removed_by_request: int | None = None
    # One of the policy's purposes, if it was said for which the release was made.
    purpose: str | None = None


class TrainedOn(_Model):
    """The release that an artifact was trained on."""

    dataset: Place
    plan: str
    policy: str | None = None
    evidence: str | None = None
    run: str | None = None
    membership: MembershipList | None = None


def _is_moment(text: str | None) -> str | None:
    if text is not None and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without a time zone")
    return text


class ArtifactStatement(Predicate):
    """States that an encrypted artifact contains a source, and where that source came from."""

    predicate_type = "https://airflow-mlsec.github.io/artifact/v1"

    source: File
    target: Place
    kind: str
    recipients: tuple[str, ...]
    issued_at: str
    trained_on: tuple[TrainedOn, ...] = ()
    run: str | None = None
    bytes: int | None = None
    compression: str | None = None
    # Numbered by the register for each target; statements from before have none.
    version: int | None = None
    expires_at: Annotated[str | None, AfterValidator(_is_moment)] = None


class FileStatement(Predicate):
    """States that a file is the one that was signed, and nothing more."""

    predicate_type = "https://airflow-mlsec.github.io/file/v1"


class AccessStatement(Predicate):
    """States who may do what on a system, as it said itself; the subject is the list, by its digest. ``unread``: what could
    not be read, so that nothing follows from its absence."""

    predicate_type = "https://airflow-mlsec.github.io/access/v1"

    source: str
    taken_at: str
    taken_by: str
    accounts: int
    entitlements: int
    unread: tuple[str, ...] = ()


class ReviewStatement(Predicate):
    """States that a campaign of access reviews was completed; the subject is what was decided, by its digest. ``covers`` has
    the datasets and where they were."""

    predicate_type = "https://airflow-mlsec.github.io/access-review/v1"

    name: str
    scope: dict[str, tuple[str, ...]]
    covers: tuple[tuple[str, str | None], ...]
    completed_at: str
    completed_by: str
    items: int
    snapshots: dict[str, int]


class DocumentStatement(Predicate):
    """States that somebody has approved a version of a document; the subjects are its files, by their digests. ``content`` is
    the digest of what it says, in no language; ``gaps`` counts what nobody has stated; ``law`` is the version of the law
    catalogue."""

    predicate_type = "https://airflow-mlsec.github.io/document/v1"

    kind: str
    about: str
    version: int
    content: str
    gaps: int
    law: int
    made_at: str
    made_by: str
    approved_at: str
    approved_by: str


class AccessChangeStatement(Predicate):
    """States how a change of who may reach a dataset is taken back; the subject is the statement that does so, by its
    digest."""

    predicate_type = "https://airflow-mlsec.github.io/access-change/v1"

    dataset: str
    source: str
    undo: str


class WithdrawalStatement(Predicate):
    """States how what was withdrawn from an account is given back; the subject is the statement that does so, by its
    digest."""

    predicate_type = "https://airflow-mlsec.github.io/access-withdrawal/v1"

    review: int
    item: int
    source: str
    undo: str


class PersonTold(_Model):
    """The person a notice is about."""

    kind: str
    keys: tuple[str, ...]


class NoticeStatement(Predicate):
    """What a recipient of personal data is told (GDPR Art. 19). It names the person."""

    predicate_type = "https://airflow-mlsec.github.io/recipient-notice/v1"

    request: int
    law: str
    kind: str
    subject: PersonTold
    recipient: str


def _is_reason(document: dict[str, Any]) -> dict[str, Any]:
    try:
        read_reason(document)
    except BrokenLog as error:
        raise ValueError(str(error)) from None
    return document


# A reason as `Reason.as_json` makes it. One of a later version is kept as it is.
ReasonDocument = Annotated[dict[str, Any], AfterValidator(_is_reason)]


class ReceiptStep(_Model):
    """The outcome for one place of a request. ``verified`` is what the independent check found. ``detail`` and
    ``verified`` are text; ``found_by``, ``reasons`` and ``found_again`` say the same as codes (`Reason.as_json`), which
    receipts of version 0.1 do not have."""

    kind: str
    name: str
    status: str
    locator: str
    detail: str
    changed_at: str
    rows: int | None = None
    verified: str | None = None
    decided_by: str | None = None
    found_by: tuple[ReasonDocument, ...] = ()
    reasons: tuple[ReasonDocument, ...] = ()
    found_again: ReasonDocument | None = None


class HandedOver(_Model):
    """A file with a person's data that was handed over: its SHA-256 and, by place, what it contained (``rows``), what
    was left out (``named``, with the reason; ``left_out_as_likeness``), and what had been ``found``."""

    sha256: str
    rows: dict[str, int]
    at: str
    by: str | None = None
    recipients: tuple[str, ...] = ()
    left_out_as_likeness: dict[str, int | None] = {}
    named: dict[str, str] = {}
    found: dict[str, int | None] = {}


class ReceiptStatement(Predicate):
    """What was done with a person's data. The person appears in it only as salted hashes of the keys."""

    predicate_type = "https://airflow-mlsec.github.io/request-receipt/v1"

    law: str
    kind: str
    subject_kind: str
    subject_sha256: tuple[str, ...]
    received_at: str
    identity: str
    closed_at: str
    steps: tuple[ReceiptStep, ...]
    # The moment after the last day, and the last day itself.
    due_at: str | None = None
    due_on: str | None = None
    extended: bool = False
    opened_by: str | None = None
    verified_by: str | None = None
    approved: bool = False
    approved_by: str | None = None
    approved_sha256: str | None = None
    four_eyes: bool | None = None
    exports: tuple[HandedOver, ...] = ()


@dataclass(frozen=True)
class ReleaseResult:
    """The result of running a plan: the plan as plain data, numbers, what the independent checker found, the
    run's label, and the list of members."""

    plan: Mapping[str, Any]
    plan_digest: str
    numbers: Numbers
    checks: tuple[Check, ...]
    run: str | None = None
    membership: MembershipList | None = None
    purpose: str | None = None


P = TypeVar("P", bound=Predicate)


@dataclass(frozen=True)
class Statement(Generic[P]):
    """A verified statement: the SHA-256 of each subject, and the predicate. ``document`` is what was signed."""

    subjects: Mapping[str, str]
    predicate: P
    document: Mapping[str, Any]


def statement_of(subjects: Mapping[str, str], predicate: Predicate) -> bytes:
    """A statement, to be signed."""
    said = predicate.model_dump(mode="json")
    return make_statement(subjects, predicate.predicate_type, said)


def sign_statement(
    keys: KeyRing, subjects: Mapping[str, str], predicate: Predicate, key: str = SIGNING_KEY
) -> dict[str, Any]:
    """A statement in a DSSE envelope, signed by a key of the ring and, if the ring has one, by the post-quantum key
    that goes with it.

    :raises KeyNotFound: if the key does not sign.
    """
    payload = statement_of(subjects, predicate)
    return sign_payload(payload, STATEMENT_TYPE, *keys.signing_keys(key))


def predicate_of(document: Mapping[str, Any], kind: type[P]) -> P | None:
    """The predicate of a verified in-toto statement, or None if it is of another kind.

    :raises SignatureInvalid: if it does not have exactly the fields of its kind.
    """
    if document["predicateType"] != kind.predicate_type:
        return None
    try:
        # As JSON: strictness is JSON's own there.
        return kind.model_validate_json(json.dumps(document["predicate"]))
    except ValidationError as error:
        # Without its values.
        at = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise SignatureInvalid(f"the statement does not match our schema, at '{at}'") from None


def read_statement(payload: bytes, *kinds: type[P]) -> Statement[P]:
    """A statement of one of the given kinds, read from what was signed.

    :raises SignatureInvalid: if it is of another kind, or does not have exactly the fields of its kind.
    """
    try:
        document = json.loads(payload)
        subjects = {item["name"]: item["digest"]["sha256"] for item in document["subject"]}
        said, known = document["predicateType"], document["_type"] == STATEMENT
        known &= "predicate" in document
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SignatureInvalid("what was signed is not an in-toto statement") from None
    if not known or not all(isinstance(text, str) for pair in subjects.items() for text in pair):
        raise SignatureInvalid("what was signed is not an in-toto statement")
    for kind in kinds:
        if (predicate := predicate_of(document, kind)) is not None:
            return Statement(subjects, predicate, document)
    raise SignatureInvalid(f"what was signed says something else ({str(said)[:80]})")


def signed_statement(envelope: Any, trusted: Trusted, *kinds: type[P]) -> Statement[P]:
    """A statement of one of the given kinds, if a trusted key signed it.

    :raises SignatureInvalid: otherwise.
    """
    return read_statement(verify_payload(envelope, STATEMENT_TYPE, trusted), *kinds)


_REMEMBERED = 20_000
_verified: dict[bytes, Statement[Any] | None] = {}


def verified_statement(
    envelope: Any, trusted: Trusted, identities: Any, *kinds: type[P]
) -> Statement[P] | None:
    """A statement that a trusted key signed; None if no trusted key did, or if it is of another kind or form.
    Results are cached by the digest of the envelope, the keys (``identities``) and the kinds."""
    text = json.dumps([envelope, identities, [k.predicate_type for k in kinds]], sort_keys=True)
    digest = hashlib.sha256(text.encode()).digest()
    if digest not in _verified:
        if len(_verified) >= _REMEMBERED:
            _verified.clear()
        try:
            _verified[digest] = signed_statement(envelope, trusted, *kinds)
        except SignatureInvalid:
            _verified[digest] = None
    return _verified[digest]
