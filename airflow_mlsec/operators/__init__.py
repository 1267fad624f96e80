"""Airflow operators, thin: each reads Airflow's world, calls one domain function, reports.

`anonymize`, `compliance`, `encrypt` have one operator each, `artifacts` those that verify and decrypt, `subjects` those of a data-subject request; `_base` what they share;
`links` the links to the privacy page. May import Airflow and the domain. Holds no rule.
"""
