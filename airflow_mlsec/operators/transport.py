"""TransportSecurityCheckOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseHook

from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.operators._base import MlsecOperator

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

    from airflow_mlsec.transport import ConnectionFacts, Finding

_API = "airflow-api"


class TransportSecurityCheckOperator(MlsecOperator):
    """Check that connections require TLS and verify their servers, and that the servers agree.

    No login takes place. A connection for which this cannot be determined also fails the task. The
    findings are kept in the register, where the controls ``source-transport-secured`` and
    ``release-transport-secured`` read them for the datasets that a connection reaches.

    :param connections: Ids of the connections that the DAGs use (templated).
    :param api: Check the address of Airflow's own API (``[api] base_url``) as well.
    :param live: Connect to the servers; without it only the configuration is checked.
    :param fewest_days: A certificate that expires sooner fails; default is 14 days.
    :param authorities: A file of certificate authorities (PEM) for connections that name none (templated).
    :param timeout_seconds: How long to wait for each answer of a server; default is 10 seconds.

    Returns (XCom) the findings: connection, check, outcome, detail.
    """

    template_fields: Sequence[str] = ("connections", "authorities")
    ui_color = "#d4dfe8"

    def __init__(
        self,
        *,
        connections: Sequence[str],
        api: bool = True,
        live: bool = True,
        fewest_days: int | None = None,
        authorities: str | None = None,
        timeout_seconds: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connections = connections
        self.api = api
        self.live = live
        self.fewest_days = fewest_days
        self.authorities = authorities
        self.timeout_seconds = timeout_seconds

    def execute(self, context: Context) -> list[dict[str, str]]:
        from airflow_mlsec.transport import Outcome, findings_table, record_findings

        with without_values():
            findings = self._findings()
            self.log.info("\n%s", findings_table(findings))
            result = [
                {
                    "connection": finding.connection,
                    "check": finding.check,
                    "outcome": finding.outcome.value,
                    "detail": finding.detail,
                }
                for finding in findings
            ]
            context["ti"].xcom_push("return_value", result)
            record_findings(self.hook.register(), findings, self.live)
            bad = [finding for finding in findings if finding.outcome is not Outcome.PASSED]
            if bad:
                named = ", ".join(f"{finding.connection} ({finding.check})" for finding in bad)
                raise CheckFailed(
                    f"{len(bad)} of {len(findings)} checks of connections did not pass: {named}; "
                    "the task log says why"
                )
            return result

    def dry_run(self) -> None:
        """Airflow's dry run: report, and never fail."""
        from airflow_mlsec.transport import findings_table

        with without_values():
            self.log.info("\n%s", findings_table(self._findings()))

    def _findings(self) -> list[Finding]:
        from airflow_mlsec.transport import FEWEST_DAYS, TIMEOUT, check_connections, facts_of_url

        chosen = [_facts(BaseHook.get_connection(conn_id)) for conn_id in self.connections]
        if self.api:
            chosen.append(facts_of_url(_API, conf.get("api", "base_url", fallback="http://")))
        return check_connections(
            chosen,
            live=self.live,
            timeout=TIMEOUT if self.timeout_seconds is None else self.timeout_seconds,
            fewest_days=FEWEST_DAYS if self.fewest_days is None else self.fewest_days,
            authorities=self.authorities,
            progress=self._progress,
        )


def _facts(connection: Connection) -> ConnectionFacts:
    from airflow_mlsec.transport import facts_of_fields

    return facts_of_fields(
        str(connection.conn_id),
        {
            "conn_type": connection.conn_type,
            "host": connection.host,
            "port": connection.port,
            "schema": connection.schema,
            "extra": connection.extra_dejson,
        },
    )
