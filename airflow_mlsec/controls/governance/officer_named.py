from __future__ import annotations

from collections.abc import Iterator

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class OfficerNotStated(
    Reason,
    en="neither a data protection officer nor that there is none",
    de="weder eine Datenschutzbeauftragte noch, dass es keine gibt",
):
    """Nobody has decided."""


class OfficerIs(Reason, en="{contact}", de="{contact}"):
    """How to reach the officer, or ``none``."""

    contact: str


class OfficerNamed(RegisterControl):
    """Letters and records name the officer; that there is none is an answer too."""

    id = "officer-named"
    title = Text(
        en="Every controller has a data protection officer with a contact, or states that there is none",
        de="Jeder Verantwortliche hat eine erreichbare Datenschutzbeauftragte oder gibt an, dass es keine gibt",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.PARTY
    reads = (Reads.ORGANIZATION,)
    cites = ("gdpr:37(7)", "gdpr:30(1)(a)")
    remedy = Text(
        en="Write the officer's contact, or `none`, into `dpo` of organization.yaml.",
        de="Tragen Sie in `dpo` in organization.yaml ein, wie sie zu erreichen ist, oder `none`.",
    )
    example = Example(holds="dpo: {contact: dpo@example.org}", fails="no `dpo`")

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for controller in facts.organization.controllers:
            dpo = controller.dpo
            how = dpo if dpo is None or dpo == "none" else dpo.contact or dpo.address
            yield (
                controller.name,
                passed(OfficerIs(str(how))) if how else failed(OfficerNotStated()),
            )
