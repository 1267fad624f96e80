"""Turns errors into Airflow's own, so that none can quote a value of the data."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)

from airflow_mlsec.errors import MlsecError, StorageFull


class PrivacyTaskFailed(AirflowFailException):
    """A retry cannot help: the task fails at once.

    :ivar error: The error itself, for alerts, which parse no messages; None if it is not one of this package.
    """

    def __init__(self, message: str, error: MlsecError | None) -> None:
        super().__init__(message)
        self.error = error


class PrivacyTaskError(AirflowException):
    """A retry may help. ``error`` as in `PrivacyTaskFailed`."""

    def __init__(self, message: str, error: MlsecError | None) -> None:
        super().__init__(message)
        self.error = error


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Turns errors into Airflow's own, so that none can quote a value of the data.

    An error that a retry cannot fix fails the task at once; the others are retried. For an error
    that is not ours only type and place are shown: messages of database drivers and of Arrow
    quote the row that caused them.
    """
    try:
        yield
    except MlsecError as error:
        kind = PrivacyTaskError if error.retry else PrivacyTaskFailed
        raise kind(f"{type(error).__name__}: {error}", error) from None
    except (AirflowException, AirflowSkipException):
        raise
    except Exception as error:
        if (full := StorageFull.of(error)) is not None:
            raise PrivacyTaskError(f"StorageFull: {full}", full) from None
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
        raise PrivacyTaskError(
            f"unexpected {type(error).__name__} at {place}; its message is withheld because it may "
            "quote personal data. Run the same step with `mlsec` and MLSEC_TRACEBACK=1 to see it on a terminal",
            None,
        ) from None
