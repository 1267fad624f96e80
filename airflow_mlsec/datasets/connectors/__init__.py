"""The kinds of dataset. One folder is one kind (`Connector`); those of other packages come from entry points of the group
``airflow_mlsec.connectors``."""
