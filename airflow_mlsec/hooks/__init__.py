"""The way from Airflow's world (configuration, connections) to the package's own.

`mlsec` has the hook of the connection type `mlsec`. May import Airflow and the domain.
"""
