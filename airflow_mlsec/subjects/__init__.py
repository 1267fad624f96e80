"""Data subjects: finding a person's data, handing it over, erasing it, and proving that.

`search` knows where a person's data can be and looks there; `requests` keeps requests: their deadlines, rules,
coverage and receipts; `letters` writes to the person; `handling` does what a request asks for. `_identity` identifies the person, `_spellings` other
spellings of a key, `_holds` what must be kept, `_suppression` who must not come back.
May import `lineage`, `anonymize`, `ledger`, `register`, `datasets`, `crypto`. Start with `handling._handler.Handler`.
"""

from airflow_mlsec.subjects._holds import Hold, hold_person, holds_on, place_hold, release_hold
from airflow_mlsec.subjects._identity import Person, reference_version, subject_digest
from airflow_mlsec.subjects._suppression import (
    refuse_if_more_is_left_out,
    without_suppressed,
)
from airflow_mlsec.subjects.handling._answered import Answered, answered
from airflow_mlsec.subjects.handling._export import Export, export_request
from airflow_mlsec.subjects.handling._handler import Handler
from airflow_mlsec.subjects.handling._rebuilt import settle_rebuilt
from airflow_mlsec.subjects.handling._rectify import rectify
from airflow_mlsec.subjects.handling._restrict import lift, restrict
from airflow_mlsec.subjects.handling._retention import Retained, apply_retention
from airflow_mlsec.subjects.handling._verify import Rescan, rescan
from airflow_mlsec.subjects.letters._letters import (
    About,
    Formats,
    Letter,
    Letters,
    category_name,
    letter_templates,
    localized,
)
from airflow_mlsec.subjects.letters._sending import KINDS as LETTERS
from airflow_mlsec.subjects.letters._sending import (
    Details,
    letters_due,
    letters_expected,
    letters_sent,
    mark_sent,
    write_letter,
)
from airflow_mlsec.subjects.reasons import ExportAnnounced
from airflow_mlsec.subjects.requests._approval import approve, covers
from airflow_mlsec.subjects.requests._changes import note
from airflow_mlsec.subjects.requests._clocks import Calendar, Deadline, clocks, deadlines, kinds_of
from airflow_mlsec.subjects.requests._receipt import Receipt, describe_receipt, verify_receipt
from airflow_mlsec.subjects.requests._request import (
    Request,
    Step,
    act_in_words,
    get_request,
    history,
    list_requests,
    person_of,
)
from airflow_mlsec.subjects.requests._requests import (
    calendar_of,
    change_person,
    extend,
    open_request,
    settle,
    verify_identity,
)
from airflow_mlsec.subjects.search._airflow import AirflowStores
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._locate import Location, locate
from airflow_mlsec.subjects.search._scan import Scan

__all__ = [
    "LETTERS",
    "About",
    "AirflowStores",
    "Answered",
    "Calendar",
    "Deadline",
    "Details",
    "Export",
    "ExportAnnounced",
    "Finding",
    "Formats",
    "Handler",
    "Hold",
    "Letter",
    "Letters",
    "Location",
    "Person",
    "Receipt",
    "Request",
    "Rescan",
    "Retained",
    "Scan",
    "Step",
    "act_in_words",
    "answered",
    "apply_retention",
    "approve",
    "calendar_of",
    "category_name",
    "change_person",
    "clocks",
    "covers",
    "deadlines",
    "describe_receipt",
    "export_request",
    "extend",
    "get_request",
    "history",
    "hold_person",
    "holds_on",
    "kinds_of",
    "letter_templates",
    "letters_due",
    "letters_expected",
    "letters_sent",
    "lift",
    "list_requests",
    "localized",
    "locate",
    "mark_sent",
    "note",
    "open_request",
    "person_of",
    "place_hold",
    "rectify",
    "reference_version",
    "refuse_if_more_is_left_out",
    "release_hold",
    "rescan",
    "restrict",
    "settle",
    "settle_rebuilt",
    "subject_digest",
    "verify_identity",
    "verify_receipt",
    "without_suppressed",
    "write_letter",
]
