"""Hook of the connection type ``mlsec``: the register, the key ring, policies, datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, conf
from airflow.sdk import BaseHook

from airflow_mlsec.connections import use_connections
from airflow_mlsec.errors import RegisterError, SettingError
from airflow_mlsec.hooks.filesystems import filesystem_of
from airflow_mlsec.settings import OPTIONS, Settings

if TYPE_CHECKING:
    from airflow_mlsec.crypto import KeyRing
    from airflow_mlsec.datasets import Artifact, Dataset
    from airflow_mlsec.policy import Policy
    from airflow_mlsec.register import Register


class MlsecHook(BaseHook):
    """Opens what the operators work with.

    The connection ``mlsec_register`` (type ``mlsec``) names the register: host, port, login,
    password and schema of a PostgreSQL database, or an extra ``register_url``. Without it the
    register of ``[mlsec] register_url`` is used.
    """

    conn_name_attr = "mlsec_conn_id"
    default_conn_name = "mlsec_register"
    conn_type = "mlsec"
    hook_name = "airflow-mlsec register"

    def __init__(self, mlsec_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.mlsec_conn_id = mlsec_conn_id

    def settings(self) -> Settings:
        """The settings in force, read through Airflow's own configuration."""
        given = {o.name: conf.get("mlsec", o.name, fallback=None) for o in OPTIONS}
        overrides = {name: value for name, value in given.items() if value}
        if url := self._register_url():
            overrides["register_url"] = url
        return Settings.load(overrides=overrides)

    def register(self) -> Register:
        """The register; its schema is brought up to date on first use."""
        from airflow_mlsec.key_ring import open_register

        return open_register(self.settings())

    def key_ring(self) -> KeyRing:
        """The key ring, bound to the register; created on first use if the register knows none."""
        from airflow_mlsec.key_ring import open_key_ring, open_register

        settings = self.settings()
        return open_key_ring(settings, open_register(settings))

    def policy(self, name: str) -> Policy:
        """A policy of ``[mlsec] policies_folder``."""
        from airflow_mlsec.policy import Catalog

        return Catalog(self.settings().policies_folder).get(name)

    def dataset(self, uri: str) -> Dataset:
        """A dataset, opened with Airflow's connections."""
        from airflow_mlsec.datasets import open_dataset

        return open_dataset(uri, AirflowConnections())

    def artifact(self, uri: str) -> Artifact:
        """A file of any format, reached with Airflow's connections."""
        from airflow_mlsec.datasets import open_artifact

        return open_artifact(uri, AirflowConnections())

    def test_connection(self) -> tuple[bool, str]:
        """For the Test button: is the register reachable, does its schema match this version?"""
        try:
            version = self.register().version()
        except RegisterError as error:
            return False, str(error)
        return True, f"register schema {version or 'not created yet'}"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        return {
            "hidden_fields": [],
            "relabeling": {"schema": "Database"},
            "placeholders": {"extra": '{"register_url": "sqlite:////srv/mlsec/register.db"}'},
        }

    def _register_url(self) -> str | None:
        try:
            connection = self.get_connection(self.mlsec_conn_id)
        except AirflowNotFoundException:
            if self.mlsec_conn_id != self.default_conn_name:
                raise
            return None
        url = connection.extra_dejson.get("register_url")
        if url:
            return str(url)
        if not connection.host:
            raise SettingError(
                f"connection '{self.mlsec_conn_id}' names no register: give it a host, or an "
                "extra `register_url`"
            )
        return AirflowConnections.url_of(connection)


class AirflowConnections:
    """Connections from Airflow's own store, secrets backends included."""

    def sql_url(self, conn_id: str) -> str:
        """See `airflow_mlsec.datasets.Connections`."""
        try:
            return self.url_of(BaseHook.get_connection(conn_id))
        except AirflowNotFoundException:
            raise SettingError(
                f"Airflow has no connection '{conn_id}'. A table is named by its connection (postgresql://conn_id/database.schema.table); "
                "an asset that names a host needs a connection whose id is that host"
            ) from None

    def filesystem(self, protocol: str, conn_id: str | None) -> Any:
        """See `airflow_mlsec.datasets.Connections`."""
        if conn_id is None:
            from airflow_mlsec.datasets import EnvironmentConnections

            return EnvironmentConnections().filesystem(protocol, None)
        return filesystem_of(protocol, conn_id)

    @staticmethod
    def url_of(connection: Any) -> str:
        """The SQLAlchemy URL of a connection to PostgreSQL or MySQL, password and TLS settings included."""
        from airflow_mlsec.datasets import database_url

        names = ("conn_type", "login", "password", "host", "port", "schema")
        fields = {name: getattr(connection, name) for name in names}
        return database_url("postgresql+psycopg", {**fields, "extra": connection.extra_dejson})


# Wherever Airflow runs, a key ring in a bucket is reached through Airflow's own connections.
use_connections(AirflowConnections())
