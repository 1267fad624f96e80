"""Data subjects: where is her data, give it to her, erase it, and prove that.

`_clocks` counts deadlines; `_requests` keeps requests and their coverage ledger. `_places`
derives where a person's data can be and how to find it, `_search` looks, `_locate` looks
everywhere, and `_scan` through what no key leads to (for `_needles`, in `_contents`, and in `_airflow`'s own stores). `_erase` erases, minding `_holds` and feeding the `_suppression` list; `_verify` looks
again with other code; `_receipt` is the signed proof; `_export` is what the person is given;
`_retention` erases what a policy keeps no longer.
May import `lineage`, `anonymize`, `register`, `datasets`, `crypto`. Start with `_erase.Handler`.
"""

from airflow_mlsec.subjects._airflow import AirflowStores
from airflow_mlsec.subjects._clocks import Calendar, Deadline, deadlines, kinds_of
from airflow_mlsec.subjects._erase import Handler
from airflow_mlsec.subjects._export import Export, export_person, export_request
from airflow_mlsec.subjects._finding import Finding
from airflow_mlsec.subjects._holds import Hold, hold_person, holds_on, place_hold, release_hold
from airflow_mlsec.subjects._identity import Person, reference_version, subject_digest
from airflow_mlsec.subjects._locate import Location, locate
from airflow_mlsec.subjects._rebuilt import settle_rebuilt
from airflow_mlsec.subjects._receipt import RECEIPT, describe_receipt, verify_receipt
from airflow_mlsec.subjects._rectify import rectify
from airflow_mlsec.subjects._requests import (
    Request,
    Step,
    approve,
    change_person,
    covers,
    extend,
    get_request,
    history,
    list_requests,
    note,
    open_request,
    person_of,
    settle,
    verify_identity,
)
from airflow_mlsec.subjects._restrict import lift, restrict
from airflow_mlsec.subjects._retention import Retained, apply_retention
from airflow_mlsec.subjects._rules import (
    InForce,
    Rules,
    agree_to_rules,
    propose_rules,
    rules_in_force,
)
from airflow_mlsec.subjects._scan import Scan
from airflow_mlsec.subjects._suppression import (
    refuse_if_more_is_left_out,
    without_suppressed,
)
from airflow_mlsec.subjects._verify import Rescan, rescan

__all__ = [
    "RECEIPT",
    "AirflowStores",
    "Calendar",
    "Deadline",
    "Export",
    "Finding",
    "Handler",
    "Hold",
    "InForce",
    "Location",
    "Person",
    "Request",
    "Rescan",
    "Retained",
    "Rules",
    "Scan",
    "Step",
    "agree_to_rules",
    "apply_retention",
    "approve",
    "change_person",
    "covers",
    "deadlines",
    "describe_receipt",
    "export_person",
    "export_request",
    "extend",
    "get_request",
    "history",
    "hold_person",
    "holds_on",
    "kinds_of",
    "lift",
    "list_requests",
    "locate",
    "note",
    "open_request",
    "person_of",
    "place_hold",
    "propose_rules",
    "rectify",
    "reference_version",
    "refuse_if_more_is_left_out",
    "release_hold",
    "rescan",
    "restrict",
    "rules_in_force",
    "settle",
    "settle_rebuilt",
    "subject_digest",
    "verify_identity",
    "verify_receipt",
    "without_suppressed",
]
