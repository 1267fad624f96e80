"""Tests mirror the package; `e2e/` drives a real Airflow."""
