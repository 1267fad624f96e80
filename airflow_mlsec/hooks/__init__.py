"""Adapters from Airflow (configuration, connections) to the package's own objects.

`mlsec` has the hook of the connection type `mlsec`. May import Airflow and the domain.
"""
