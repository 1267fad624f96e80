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
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class ControllerIs(Reason, en="{controller}", de="{controller}"):
    """The controller is known."""

    controller: str


class NoSuchController(
    Reason,
    en="organization.yaml has no controller {controller}",
    de="organization.yaml nennt keinen Verantwortlichen {controller}",
):
    """The policy names a controller that is not known."""

    controller: str


class WhichController(
    Reason,
    en="the policy names no controller, and organization.yaml does not have exactly one",
    de="die Richtlinie nennt keinen Verantwortlichen, und organization.yaml hat nicht genau einen",
):
    """It is not known who the controller is."""


class ControllerKnown(RegisterControl):
    """Records and letters can name the controller, with address and contact."""

    id = "controller-known"
    title = Text(
        en="The controller of every dataset is in organization.yaml",
        de="Der Verantwortliche jedes Datenbestands steht in organization.yaml",
    )
    severity = Severity.MEDIUM
    policy_key = "controller"
    asset = AssetKind.DATASET
    reads = (Reads.POLICY, Reads.ORGANIZATION)
    cites = ("gdpr:30(1)(a)", "gdpr:13(1)(a)", "iso-27701:A.1.2.9")
    remedy = Text(
        en="Write the controller into `controllers` of organization.yaml, under the name that the policy uses.",
        de="Tragen Sie den Verantwortlichen unter `controllers` in organization.yaml ein, mit dem Namen aus der Richtlinie.",
    )
    example = Example(
        holds="controller: Example Shop GmbH, which organization.yaml describes",
        fails="controller: Example Shop AG, which nobody has described",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.sources:
            named = (dataset.policy or {}).get("controller")
            found = facts.organization.controller(named)
            if found is not None:
                answer = passed(ControllerIs(found.name))
            elif not facts.organization.controllers or named is None:
                answer = unknown(WhichController())
            else:
                answer = failed(NoSuchController(str(named)))
            yield str(dataset.name), answer
