"""Who can really reach the tables of a PostgreSQL database.

`_catalog` reads the server's catalogues, `_access` computes from them who has which privileges, by which path, and what
would take them away. May import nothing of the package. Start with `_access`.
"""

from airflow_mlsec.postgresql._access import Origin, TableAccess, quoted, revocation, table_access
from airflow_mlsec.postgresql._catalog import PUBLIC, Catalog, Role, read_catalog, shown

__all__ = [
    "PUBLIC",
    "Catalog",
    "Origin",
    "Role",
    "TableAccess",
    "quoted",
    "read_catalog",
    "revocation",
    "shown",
    "table_access",
]
