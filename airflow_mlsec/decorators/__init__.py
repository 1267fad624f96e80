"""Decorators of functions that make what is then anonymized or encrypted: ``@task.anonymize``, ``@task.protect``."""
