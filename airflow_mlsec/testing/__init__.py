"""For tests and demonstrations: a real Airflow that starts, runs DAGs and stops.

`_airflow` has the server. Not a fake: it starts the scheduler, API server, triggerer and DAG
processor of the installed Airflow, and communicates with them over HTTP.
"""

from airflow_mlsec.testing._airflow import AirflowServer

__all__ = ["AirflowServer"]
