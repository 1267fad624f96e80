"""What Airflow itself is set to, for those who may not import it (entry point ``airflow`` of ``airflow_mlsec.airflow_settings``)."""

from __future__ import annotations

import contextlib
import sys


def setting(section: str, option: str) -> str:
    """An option of Airflow's, however it is given (file, environment, command, secret); empty where there is none."""
    # Airflow logs to what is the standard output when it first has something to say; that is for our answer.
    with contextlib.redirect_stdout(sys.stderr):
        from airflow.configuration import conf

        return str(conf.get(section, option, fallback=""))
