"""What Airflow loads. The application is created on first use: every Airflow process imports this
module, but only the API server serves pages."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin


async def _late_app(scope: Any, receive: Any, send: Any) -> None:
    from airflow_mlsec.plugin._routes import application

    await application()(scope, receive, send)


_intake: list[Any] = []


async def _late_intake(scope: Any, receive: Any, send: Any) -> None:
    if not _intake:
        from airflow_mlsec.plugin._intake import application

        _intake.append(application())
    await _intake[0](scope, receive, send)


class MlsecPlugin(AirflowPlugin):
    """The privacy pages and the intake of lineage events."""

    name = "mlsec"
    fastapi_apps: ClassVar[list[Any]] = [
        {"app": _late_app, "url_prefix": "/mlsec", "name": "airflow-mlsec"},
        # Where OpenLineage clients send events if they are given only this server's URL.
        {"app": _late_intake, "url_prefix": "/api/v1", "name": "airflow-mlsec intake"},
    ]
    react_apps: ClassVar[list[Any]] = [
        {
            "name": "Personal data",
            "bundle_url": "/mlsec/main.js",
            "url_route": "privacy",
            "destination": "nav",
            "category": "browse",
        },
        {
            "name": "Data-subject requests",
            "bundle_url": "/mlsec/main.js",
            "url_route": "privacy-requests",
            "destination": "nav",
            "category": "browse",
        },
    ]
