"""Turns errors into Airflow's own, so that none can quote a value of the data."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from airflow_mlsec.errors import (
    ChangedMeanwhile,
    CheckFailed,
    CryptoError,
    MlsecError,
    Refused,
    UsageError,
)


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Turns errors into Airflow's own, so that none can quote a value of the data.

    An error that a retry cannot fix fails the task at once; the others are retried. For an error
    that is not ours only type and place are shown: messages of database drivers and of Arrow
    quote the row that caused them.
    """
    try:
        yield
    except ChangedMeanwhile as error:
        # Unlike the other errors of its base classes, a retry can fix this one.
        raise AirflowException(f"{type(error).__name__}: {error}") from None
    except (UsageError, Refused, CheckFailed, CryptoError) as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from None
    except MlsecError as error:
        raise AirflowException(f"{type(error).__name__}: {error}") from None
    except (AirflowException, AirflowSkipException):
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
        raise AirflowException(
            f"unexpected {type(error).__name__} at {place}; its message is withheld because it may "
            "quote personal data. Run the same step with `mlsec` and MLSEC_TRACEBACK=1 to see it on a terminal"
        ) from None
