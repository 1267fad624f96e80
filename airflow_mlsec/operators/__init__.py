"""Airflow operators, kept thin: each reads Airflow's context, calls one domain function and reports the result.

`anonymize`, `compliance`, `encrypt` have one operator each; `artifacts` has those that verify and decrypt, `subjects`
those of a data-subject request, `_base` what they share, `links` the links to the privacy page. May import Airflow
and the domain. Contains no rules.
"""
