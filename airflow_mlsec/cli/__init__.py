"""`mlsec`, the command line: the package's capabilities without Airflow running.

`_main` is the root and loads a command's module when the command is called; each other module
is one group of commands. May import everything but the Airflow adapters. Never imports
Airflow. Start with `_main`.
"""

from airflow_mlsec.cli._main import main

__all__ = ["main"]
