"""Controls of documents: one file each, named by an entry point of the group ``airflow_mlsec.controls``."""
