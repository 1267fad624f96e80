"""The Airflow plugin: HTTP routes at ``/mlsec`` and the page at ``/plugin/privacy``.

`_routes` is the FastAPI application, `_access` decides who may call it, `_map` reads the
register, `static/` contains the built page (source in `ui/`). May import Airflow and the domain.
"""

from airflow_mlsec.plugin._plugin import MlsecPlugin

__all__ = ["MlsecPlugin"]
