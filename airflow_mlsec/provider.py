"""What Airflow's provider discovery learns about this package. Imports neither Airflow nor the
domain: Airflow calls it during startup."""

from __future__ import annotations

from typing import Any

from airflow_mlsec.settings import OPTIONS

_INTEGRATION = "airflow-mlsec"


def get_provider_info() -> dict[str, Any]:
    """The provider's description, as ``provider_info.schema.json`` of Airflow 3 defines it."""

    def modules(*names: str) -> list[dict[str, Any]]:
        full = [f"airflow_mlsec.{name}" for name in names]
        return [{"integration-name": _INTEGRATION, "python-modules": full}]

    return {
        "package-name": "airflow-mlsec",
        "name": "airflow-mlsec",
        "description": "Privacy and security for machine-learning pipelines.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://airflow-mlsec.github.io/",
                "logo": "/docs/images/logo.svg",
                "tags": ["software"],
            }
        ],
        "operators": modules(
            "operators.anonymize",
            "operators.compliance",
            "operators.artifacts",
            "operators.encrypt",
            "operators.subjects",
            "operators.retention",
            "operators.transport",
        ),
        "sensors": modules("sensors.access_review", "sensors.subject_request"),
        "task-decorators": [
            {
                "name": "anonymize",
                "class-name": "airflow_mlsec.decorators.anonymize.anonymize_task",
            },
            {"name": "protect", "class-name": "airflow_mlsec.decorators.protect.protect_task"},
        ],
        "hooks": modules("hooks.mlsec"),
        "triggers": modules("triggers.access_review", "triggers.subject_request"),
        "asset-uris": [
            {
                "schemes": ["sqlite"],
                "handler": None,
                "to_openlineage_converter": "airflow_mlsec.hooks.assets.to_openlineage",
            }
        ],
        "notifications": ["airflow_mlsec.notifications.privacy_alert.PrivacyAlertNotifier"],
        "extra-links": [
            "airflow_mlsec.operators.links.PersonalDataMapLink",
            "airflow_mlsec.operators.links.SubjectRequestLink",
        ],
        "connection-types": [
            {"connection-type": "mlsec", "hook-class-name": "airflow_mlsec.hooks.mlsec.MlsecHook"}
        ],
        "config": {
            "mlsec": {
                "description": "Privacy and security for machine-learning pipelines.",
                "options": {
                    option.name: {
                        "description": option.description,
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": option.example,
                        "default": None if "{" in option.default else option.default,
                        **({"sensitive": True} if option.sensitive else {}),
                    }
                    for option in OPTIONS
                },
            }
        },
    }
