"""Operators of a data-subject request: locate, export, prepare, erase, verify.

They carry the request's number and nothing about the person: the task that needs the person's
identity reads it from the register and decrypts it.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import AssetAlias

from airflow_mlsec import files
from airflow_mlsec.actors import Actor, airflow_task
from airflow_mlsec.errors import MlsecError, UsageError
from airflow_mlsec.hooks.airflow_api import CONN_ID, airflow_api, approver
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.hooks.mail import send_mail
from airflow_mlsec.hooks.mlsec import AirflowConnections, MlsecHook
from airflow_mlsec.operators._base import (
    MlsecOperator,
    assets_of,
    lineage_dataset,
    run_label,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlsec.subjects import Handler, Request

Number = int | str


def request_handler(hook: MlsecHook, by: Actor, progress: Any = lambda message: None) -> Handler:
    """The handler that works on requests within a task."""
    from airflow_mlsec.subjects import AirflowStores, Handler, Letters, Scan

    settings = hook.settings()
    return Handler(
        hook.register(), hook.key_ring(), by, AirflowConnections(), settings.data_roots, progress,
        Scan(settings.scan_budget, (settings.state_folder,), AirflowStores(airflow_api)), settings.erase_old_versions,
        Letters.of(settings),
    )  # fmt: skip


class _RequestOperator(MlsecOperator):
    """Base: ``request`` is the request's number (templated)."""

    template_fields: Sequence[str] = ("request",)
    ui_color = "#f3e3cf"

    def __init__(self, *, request: Number, dry_run: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.request = request
        self._only_try = dry_run

    def execute(self, context: Context) -> Any:
        with without_values():
            return self._run(context, self._only_try)

    def dry_run(self) -> None:
        """Airflow's dry run: report what would be done."""
        with without_values():
            self._run(None, True)

    @abstractmethod
    def _run(self, context: Context | None, dry_run: bool) -> Any:
        """What the operator does; each operator has its own."""

    def _number(self) -> int:
        try:
            return int(self.request)
        except ValueError:
            raise UsageError(
                f"{type(self).__name__}: `request` is the number of a request"
            ) from None

    def _handler(self, context: Context | None) -> Handler:
        by = airflow_task(run_label(context) if context is not None else "dry run")
        return request_handler(self.hook, by, self._progress)


class LocateSubjectOperator(_RequestOperator):
    """Find the person of a request in every dataset, artifact and model, and record the result in
    the request's ledger.

    :param request: Number of the request (templated).
    :param dry_run: Look, but write nothing.

    Returns (XCom) how many places hold the person's data, and how many remain unknown.
    A place that could not be read fails the task, so that on-call is notified; the others are in
    the ledger all the same.
    """

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, Any]:
        handler = self._handler(context)
        request = handler.look(self._number()) if dry_run else handler.locate(self._number())
        failed = [step.name for step in request.steps if step.status == "failed"]
        if failed and not dry_run:
            raise RetryLater(f"could not be searched: {', '.join(failed)}")
        return _counts(request)


class ExportSubjectOperator(_RequestOperator):
    """Write the person's data, with a letter that explains it, encrypted to the person: to the age recipients
    that were bound to the request when the identity was verified (`mlsec subject identity --recipient`).

    :param request: Number of the request (templated).
    :param target: Path of the encrypted archive (templated).
    :param recipients: Recipients that a caller expects; recipients that are not bound are refused. Default
        is those that are bound; if none are bound, the task is skipped (templated).
    :param language: Language of the letter: ``en``, ``de``, or one of ``[mlsec] letters_folder`` (templated).
    :param dry_run: Report from where the person's data would be exported, but write nothing.

    Returns (XCom) rows by place.
    """

    template_fields: Sequence[str] = ("request", "target", "recipients", "language")

    def __init__(
        self,
        *,
        target: str,
        recipients: Sequence[str] | str = (),
        language: str = "en",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.recipients = recipients
        self.language = language

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, int]:
        from airflow_mlsec.crypto import Recipient
        from airflow_mlsec.datasets import file_path
        from airflow_mlsec.subjects import export_request, get_request

        handler = self._handler(context)
        request = get_request(handler.register, self._number())
        listed = [self.recipients] if isinstance(self.recipients, str) else self.recipients
        asked = [str(Recipient.parse(text)) for text in listed if text]
        if not request.recipients and not asked:
            raise AirflowSkipException(
                "no recipient was bound to the request, so there is nobody to export to"
            )
        if dry_run:
            return {s.name: s.rows or 0 for s in request.steps if s.status == "found"}
        target = file_path(self.target)
        done = export_request(handler, request.id, target, asked=asked, language=self.language)
        return dict(done.rows)


APPROVE = "Approve"
APPROVE_ALL = "Approve, with places that only lineage names"


class PrepareErasureOperator(_RequestOperator):
    """Record who approved, and compute what will be erased where; nothing is erased yet.

    The approving user is read from Airflow's own record of the task that asked (connection ``mlsec_airflow``); the
    approval counts if ``[mlsec] role_mapping`` makes that user an approver. What a task returned, and its state, do not
    count: both can be set by hand. Legal holds are looked up, and the person is put on the suppression list.

    :param request: Number of the request (templated).
    :param approval: Id of the task of this DAG (an ``ApprovalOperator``, or a ``HITLOperator`` with the options
        `APPROVE` and `APPROVE_ALL`) that asked a person (templated).
    :param airflow_conn_id: Connection of Airflow's REST API.

    Returns (XCom) the numbers of the places, children before the tables that they refer to; expand
    `EraseSubjectOperator` over them.
    """

    template_fields: Sequence[str] = ("request", "approval")

    def __init__(self, *, approval: str, airflow_conn_id: str = CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approval = approval
        self.airflow_conn_id = airflow_conn_id

    def _run(self, context: Context | None, dry_run: bool) -> list[int]:
        from airflow_mlsec.ledger import rules_in_force
        from airflow_mlsec.subjects import approve, get_request

        handler, number = self._handler(context), self._number()
        if dry_run or context is None:
            return [step.id for step in handler.order(get_request(handler.register, number))]
        if not get_request(handler.register, number).approved_by:
            for asked in rules_in_force(handler.register).refused:
                self.log.warning("The register's rules apply: %s is looser", asked)
            ti = context["ti"]
            by, option = approver(
                airflow_api(self.airflow_conn_id), ti.dag_id, ti.run_id, str(self.approval),
                (APPROVE, APPROVE_ALL),
            )  # fmt: skip
            named = ("*",) if option == APPROVE_ALL else ()
            approve(handler.register, number, by, named=named)
        request = handler.prepare(number)
        return [step.id for step in handler.order(request)]


class EraseSubjectOperator(_RequestOperator):
    """Erase, in one place, the data of the person of an approved request. Retries are safe.

    :param request: Number of the request (templated).
    :param place: Number of the place in the request's ledger; expand over what
        `PrepareErasureOperator` returns (templated).
    :param dry_run: Report what would be erased, but erase nothing.

    Returns (XCom) the place and what became of it.
    """

    template_fields: Sequence[str] = ("request", "place")

    def __init__(self, *, place: Number, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.place = place

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, Any]:
        from airflow_mlsec.ledger import has
        from airflow_mlsec.subjects import get_request, reasons

        handler, number, place = self._handler(context), self._number(), int(self.place)
        if dry_run:
            request = get_request(handler.register, number)
        else:
            request = handler.erase_place(number, place)
        step = next((s for s in request.steps if s.id == place), None)
        if step is None:
            raise UsageError(f"request {number} has no place number {place}")
        if step.status == "failed" or has(step.reasons, reasons.WaitsFor):
            # Retried later: another place may have to be erased first, or a database may be down.
            raise RetryLater(f"{step.name}: {step.detail}")
        if step.status == "erasing" and not dry_run:
            raise RetryLater(f"{step.name}: another process is erasing it")
        return {"place": step.name, "status": step.status, "rows": step.rows}


# What `RebuildDownstreamOperator` produces: the datasets that changed, known only when it runs.
CHANGED = AssetAlias("mlsec_changed_by_request")


class RebuildDownstreamOperator(_RequestOperator):
    """Let the DAGs that are scheduled on datasets changed by a request rebuild their outputs.

    A person cannot be erased from a mean, a model or a copy without a key. For each dataset from
    which the person was erased (or in which they were rectified or restricted), an asset event is
    sent to Airflow, which runs the DAGs whose ``schedule`` names ``Asset(<the dataset's URI>)``.
    When they have run, `SubjectRequestSensor` settles their outputs as rebuilt.

    :param request: Number of the request (templated).
    :param dry_run: Report which datasets have changed.

    Returns (XCom) the URIs of the datasets.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outlets.append(CHANGED)
        self._changed: list[str] = []

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """States that it read what changed and wrote nothing: its outlet only triggers other DAGs and is
        not an output. Without an input Airflow would treat the outlet as an output."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        from airflow_mlsec.datasets import dataset_name

        del ti
        names = [dataset_name(uri) for uri in self._changed]
        return OperatorLineage(inputs=[lineage_dataset(n, [], {}, output=False) for n in names])

    def _run(self, context: Context | None, dry_run: bool) -> list[str]:
        from airflow_mlsec.subjects import get_request

        handler = self._handler(context)
        uris = handler.changed_uris(get_request(handler.register, self._number()))
        self._changed = uris
        if context is not None and not dry_run:
            event = {"request": self._number()}
            for asset in assets_of(uris):
                context["outlet_events"][CHANGED].add(asset, extra=event)
        return uris


class RetryLater(MlsecError):
    """A place could not be erased now; the message names it and holds no value."""


class NotifyRecipientsOperator(_RequestOperator):
    """Notify those who received the person's data that it was erased (GDPR Art. 19).

    :param request: Number of the request (templated).
    :param smtp_conn_id: Connection of the SMTP server for recipients whose contact is ``mailto:``.
    :param dry_run: Report who would be notified.

    Returns (XCom) the status of each recipient. If one could not be notified, the task fails after
    the others were notified; one that must be notified by hand stays open in the ledger.
    """

    def __init__(self, *, smtp_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smtp_conn_id = smtp_conn_id

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, str]:
        from airflow_mlsec.subjects import get_request

        handler, number, conn_id = self._handler(context), self._number(), self.smtp_conn_id
        if dry_run:
            request = get_request(handler.register, number)
        else:
            mail = partial(send_mail, conn_id) if conn_id else None
            request = handler.notify(number, mail)
        told = {step.name: step for step in request.steps if step.kind == "recipient"}
        failed = [
            f"{step.name} ({step.detail})" for step in told.values() if step.status == "failed"
        ]
        if failed and not dry_run:
            raise RetryLater(f"not notified: {'; '.join(failed)}")
        return {name: step.status for name, step in told.items()}


class VerifyErasureOperator(_RequestOperator):
    """Check every erased place again with different code, and close the request with a signed
    receipt if every place is settled.

    :param request: Number of the request (templated).
    :param receipt: Path of the receipt (templated).
    :param salt: Path of a file, readable by its owner only, with the salt that lets the person show
        that the receipt is about them (templated); default is next to the receipt.
    :param dry_run: Look again, but do not close.

    Returns (XCom) what was found at each place.
    """

    template_fields: Sequence[str] = ("request", "receipt", "salt")

    def __init__(self, *, receipt: str, salt: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.receipt = receipt
        self.salt = salt

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, str]:
        from airflow_mlsec.datasets import file_path

        handler, number = self._handler(context), self._number()
        if dry_run:
            return {name: str(why.words()) for name, why in handler.verify(number).items()}
        request, salt = handler.close(number)
        receipt = file_path(self.receipt)
        files.write_bytes(receipt, f"{json.dumps(request.receipt, indent=1)}\n".encode())
        if salt is not None:
            beside = receipt.with_name(f"{receipt.name}.salt")
            files.write_bytes(Path(self.salt) if self.salt else beside, f"{salt}\n".encode())
        return {step.name: step.status for step in request.steps}


def _counts(request: Request) -> dict[str, Any]:
    found: dict[str, int] = {}
    for step in request.steps:
        found[step.status] = found.get(step.status, 0) + 1
    return {"request": request.id, "kind": request.kind, "places": len(request.steps), **found}


__all__ = [
    "APPROVE",
    "APPROVE_ALL",
    "EraseSubjectOperator",
    "ExportSubjectOperator",
    "LocateSubjectOperator",
    "NotifyRecipientsOperator",
    "PrepareErasureOperator",
    "RebuildDownstreamOperator",
    "VerifyErasureOperator",
]
