"""The manifests of docs/how-to/deploy.md: their settings are ours, and what they mount is read as they mount it."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_mlsec.errors import UnsafePermissions
from airflow_mlsec.key_ring import root_given
from airflow_mlsec.settings import OPTIONS, Settings

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "deploy.md").read_text()
MANIFESTS: dict[str, Any] = {
    name: yaml.safe_load(text)
    for name, text in re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
}
ROOT_KEY = bytes(range(32))
REGISTER = "postgresql+psycopg://mlsec:x@postgres.example.org/mlsec"


def environments(folder: Path) -> dict[str, dict[str, str]]:
    """What each manifest gives an Airflow container, with its secrets in it."""
    helm, pod = MANIFESTS["values.yaml"], MANIFESTS["pod_template.yaml"]["spec"]["containers"][0]
    secrets = MANIFESTS["secret.yaml"]["stringData"]
    found = {"helm": {e["name"]: e["value"] for e in helm["env"]}}
    for entry in helm["secret"]:
        assert entry["secretName"] == MANIFESTS["secret.yaml"]["metadata"]["name"]
        assert entry["secretKey"] in secrets
        found["helm"][entry["envName"]] = REGISTER
    found["pod"] = {}
    for entry in pod["env"]:
        if "valueFrom" in entry:
            reference = entry["valueFrom"]["secretKeyRef"]
            assert reference["key"] in secrets
            found["pod"][entry["name"]] = REGISTER
        else:
            found["pod"][entry["name"]] = entry["value"]
    compose = MANIFESTS["docker-compose.override.yaml"]
    for name, service in compose["services"].items():
        given = dict(service["environment"])
        for secret in service["secrets"]:
            assert secret in compose["secrets"]
            kept = folder / secret
            kept.write_text(REGISTER if secret == "register_url" else base64.b64encode(ROOT_KEY).decode())  # fmt: skip
            given = {n: v.replace(f"/run/secrets/{secret}", str(kept)) for n, v in given.items()}
        found[name] = given
    return found


def test_every_setting_is_one_of_ours(tmp_path: Path) -> None:
    ours = {f"AIRFLOW__MLSEC__{option.name.upper()}" for option in OPTIONS}
    for name, given in environments(tmp_path).items():
        said = {variable.removesuffix("_CMD") for variable in given}
        assert said <= ours, name
        settings = Settings.load(environ={**given, "AIRFLOW_HOME": str(tmp_path)})
        assert settings.register_url == REGISTER, name
        assert settings.ring_in_register or settings.ring_object, "no ring in a folder"
        assert "://" in settings.shared_folder
        assert settings.root_key is not None or settings.root_key_file is not None


@pytest.mark.parametrize("manifest", ["values.yaml", "pod_template.yaml"])
def test_the_mounted_root_key_is_read_as_kubernetes_mounts_it(
    tmp_path: Path, manifest: str
) -> None:
    helm = manifest == "values.yaml"
    said = MANIFESTS[manifest] if helm else MANIFESTS[manifest]["spec"]
    [volume] = said["volumes"]
    [mount] = said["volumeMounts"] if helm else said["containers"][0]["volumeMounts"]
    assert volume["name"] == mount["name"]
    [item] = volume["secret"]["items"]
    assert item["key"] in MANIFESTS["secret.yaml"]["stringData"]
    given = environments(tmp_path)["helm" if helm else "pod"]
    assert given["AIRFLOW__MLSEC__ROOT_KEY_FILE"] == f"{mount['mountPath']}/{item['path']}"
    # As the kubelet does: a folder of the moment, and links to it.
    mounted = tmp_path / "mounted"
    (mounted / "..2026").mkdir(parents=True)
    os.chmod(tmp_path, 0o755)
    content = mounted / "..2026" / item["path"]
    content.write_text(base64.b64encode(ROOT_KEY).decode())
    content.chmod(volume["secret"]["defaultMode"])
    (mounted / "..data").symlink_to("..2026")
    (mounted / item["path"]).symlink_to(f"..data/{item['path']}")
    given["AIRFLOW__MLSEC__ROOT_KEY_FILE"] = str(mounted / item["path"])
    settings = Settings.load(environ={**given, "AIRFLOW_HOME": str(tmp_path)})
    assert root_given(settings) == ROOT_KEY


def test_objects_are_complete_and_agree() -> None:
    for name in ("secret.yaml", "serviceaccount.yaml", "pod_template.yaml"):
        assert {"apiVersion", "kind", "metadata"} <= set(MANIFESTS[name])
    pod = MANIFESTS["pod_template.yaml"]["spec"]
    assert pod["serviceAccountName"] == MANIFESTS["serviceaccount.yaml"]["metadata"]["name"]
    # Airflow's executor fills in the container of this name.
    assert pod["containers"][0]["name"] == "base"
    assert pod["securityContext"]["fsGroup"]


def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    # Below /tmp, which everybody may pass.
    import tempfile

    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "root.key"
        path.write_text(base64.b64encode(ROOT_KEY).decode())
        path.chmod(0o444)
        given = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__ROOT_KEY_FILE": str(path)}
        with pytest.raises(UnsafePermissions, match="0440"):
            root_given(Settings.load(environ=given))
