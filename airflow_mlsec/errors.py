"""Every error this package raises, in one tree.

    MlsecError
    ├── UsageError (ValueError)              bad input or setting            exit code 2
    │   ├── SettingError
    │   ├── PolicyError                      file:line:column of the YAML
    │   ├── PlanError                        a plan that does not fit
    │   └── DatasetError
    │       ├── DatasetNotFound (FileNotFoundError)
    │       ├── ChangedMeanwhile                 try again
    │       ├── DatabaseUnavailable              try again later
    │       ├── ColumnMissing (KeyError)
    │       ├── ColumnType (TypeError)
    │       └── UnsupportedDataset
    ├── StorageFull (OSError)                no space left on a device
    ├── CheckFailed (AssertionError)         a check failed                  exit code 1
    ├── Refused (PermissionError)            refused for safety              exit code 3
    │   ├── UndeclaredColumn
    │   ├── GuaranteeNotMet                  the privacy model does not hold
    │   └── UnsafePermissions
    ├── CryptoError
    │   ├── KeyNotFound (KeyError)           exit code 2
    │   ├── AnotherRing                      a key ring that is not the register's, exit code 3
    │   ├── DecryptionFailed                 exit code 3, one wording for every cause
    │   └── SignatureInvalid                 exit code 3
    │       └── BrokenLog                    the audit log is not what was signed
    └── RegisterError                        the register cannot be used     exit code 2

Messages carry names and positions (dataset, column, row number, setting), never a
value of the data: an exception ends up in logs, alerts and issue trackers.
"""

from __future__ import annotations

import errno
import tempfile
import unicodedata
from collections.abc import Collection, Iterable

from airflow_mlsec import column_names


def printable(text: str) -> str:
    """The text with characters escaped that a terminal would interpret (control characters), that change the order in
    which text is shown (Unicode's bidirectional controls, "Trojan Source", CVE-2021-42574), or that cannot be
    encoded: names of files, datasets and columns can contain any. Line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _acts(c) else c for c in text)


def printable_json(text: str) -> str:
    """The same for a JSON document, which stays that document."""
    if text.isprintable():
        return text
    units = (c.encode("utf-16-be", "surrogatepass").hex() if _acts(c) else c for c in text)
    return "".join(
        unit if len(unit) == 1 else "".join(f"\\u{unit[i : i + 4]}" for i in range(0, len(unit), 4))
        for unit in units
    )


def is_full(error: OSError) -> bool:
    """Whether an error says that no space is left: on the device, or of the user's quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _acts(character: str) -> bool:
    if character.isprintable() or character in "\n\t":
        return False
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


class MlsecError(Exception):
    """Base of all errors raised by this package. Its message never holds a data value.

    :cvar retry: Whether trying again unchanged may help: Airflow then retries the task.
    """

    exit_code = 2
    retry: bool = True

    def __str__(self) -> str:
        # KeyError would print its argument's repr, quotes and escapes included.
        return printable(str(self.args[0])) if self.args else self.__class__.__name__


class UsageError(MlsecError, ValueError):
    """The input, setting or argument is wrong; trying again unchanged cannot help."""

    retry = False


class SettingError(UsageError):
    """A setting of section ``[mlsec]`` is missing or wrong."""


class NoFilesystem(SettingError):
    """No client is known that reads files of a scheme."""


class PolicyError(UsageError):
    """A policy file is wrong at a named place."""

    @classmethod
    def at(cls, source: str, line: int, column: int, message: str) -> PolicyError:
        return cls(f"{source}:{line}:{column}: {message}")


class PlanError(UsageError):
    """A plan is unreadable, or does not fit the policy or the data that it is given."""


class DatasetError(UsageError):
    """A dataset cannot be read or written."""


class DatasetNotFound(DatasetError, FileNotFoundError):
    """No dataset is at this URI."""


class EmptyDataset(DatasetNotFound):
    """A folder without files, or a file without rows: nothing shows what its columns are."""


class UnsupportedDataset(DatasetError):
    """The URI names a kind of dataset that is not supported."""


class ChangedMeanwhile(DatasetError):
    """Another program wrote the dataset while it was being rewritten; nothing was replaced."""

    retry = True


class DatabaseUnavailable(DatasetError):
    """A database cannot be reached, or is in trouble that may pass."""

    retry = True


class ColumnMissing(DatasetError, KeyError):
    """The policy names a column that the dataset does not have."""

    @classmethod
    def among(
        cls,
        missing: Iterable[str],
        present: Iterable[str],
        policy: str,
        expected: Collection[str] = (),
    ) -> ColumnMissing:
        """``expected`` are the columns that the dataset should have, if they are known."""
        missing, present = list(missing), list(present)
        named = column_names.shown(missing, ())
        if expected and not column_names.may_be_values(present, expected):
            has = f"it has {column_names.shown(present, present)}"
        else:
            # Nothing shows that its first line is a header, and not a row about somebody.
            has = f"it has {column_names.counted(len(present))}, by other names (does the file have a header?)"
        return cls(
            f"policy {policy} names {named}, which the dataset does not have; {has}. Fix `columns` in the policy, or the source."
        )


class ColumnType(DatasetError, TypeError):
    """A column has a type that the step cannot work on."""

    @classmethod
    def unusable(cls, column: str, found: object, expected: str, step: str) -> ColumnType:
        return cls(f"column '{column}' has type {found}; {step} needs {expected}")


class StorageFull(MlsecError, OSError):
    """No space is left where something was written; nothing was replaced."""

    @classmethod
    def while_writing(cls, name: str, folder: str) -> StorageFull:
        return cls(
            f"no space is left on the device of {folder} (ENOSPC), where {name} was being written; nothing was "
            "replaced. Free space there, and run it again"
        )

    @classmethod
    def of(cls, error: BaseException) -> StorageFull | None:
        """The same for an error from elsewhere, if it says that no space is left: where, if that is known."""
        if not isinstance(error, OSError) or not is_full(error):
            return None
        return cls.while_writing("a file", str(error.filename or tempfile.gettempdir()))


class CheckFailed(MlsecError, AssertionError):
    """A compliance check, review or verification failed."""

    exit_code = 1
    retry = False


class Refused(MlsecError, PermissionError):
    """Refused for safety: going on could expose personal data."""

    exit_code = 3
    retry = False


class UndeclaredColumn(Refused):
    """The dataset has a column that its policy does not mention."""

    @classmethod
    def found(
        cls,
        columns: Iterable[str],
        dataset: str,
        policy: str,
        present: Iterable[str],
        declared: Collection[str],
    ) -> UndeclaredColumn:
        """``present`` are all columns of the dataset, ``declared`` those of the policy."""
        shown = column_names.shown(columns, present, declared)
        return cls(
            f"dataset {dataset} has {shown}, which policy {policy} does not mention. "
            "Nothing was written. Declare each under `columns`, or set `unlisted_columns: drop`."
        )


class GuaranteeNotMet(Refused):
    """The data cannot meet, or did not meet, the guarantee that the policy requires."""


class UnsafePermissions(Refused):
    """A secret file can be read or changed by others."""


class CryptoError(MlsecError):
    """Base of the cryptographic failures."""

    exit_code = 3
    retry = False


class KeyNotFound(CryptoError, KeyError):
    """The key ring has no usable key of this name and version."""

    exit_code = 2


class AnotherRing(CryptoError):
    """The key ring, or one of its key versions, is not the one that the register knows."""

    @classmethod
    def than_recorded(cls, known: str, found: str) -> AnotherRing:
        return cls(
            f"this process has key ring {found[:12]}, but the register knows ring {known[:12]}: pseudonyms and "
            "suppression lists of one mean nothing under the other. Mount the register's ring at [mlsec] key_ring "
            "(the folder that is there now may have been made by mistake). If the ring is permanently lost: "
            "mlsec keys adopt"
        )

    @classmethod
    def than_signed(cls, found: str) -> AnotherRing:
        return cls(
            f"this process has key ring {found[:12]}, but another ring signed the register's evidence. Mount the "
            "register's ring at [mlsec] key_ring. If it is permanently lost: mlsec keys adopt"
        )

    @classmethod
    def none_here(cls, known: str, folder: str) -> AnotherRing:
        return cls(
            f"there is no key ring in {folder}, but the register knows ring {known[:12]}. No new ring is made: mount that "
            "ring at [mlsec] key_ring, or restore it from its backup. If it is permanently lost: mlsec keys adopt"
        )

    @classmethod
    def of_version(cls, folder: str, name: str, version: int) -> AnotherRing:
        return cls(
            f"version {version} of key '{name}' in {folder} is not the key that the register knows by that name: this "
            "copy of the ring, or another one, was rotated separately. Replace it with the ring that the register knows"
        )


class DecryptionFailed(CryptoError):
    """The file cannot be decrypted. One message for every cause, so that callers learn none."""

    def __init__(self) -> None:
        super().__init__(
            "decryption failed: wrong key, or the file is damaged or not an age v1 file; "
            "no output was written"
        )


class SignatureInvalid(CryptoError):
    """A signature, or what it covers, does not verify."""


class BrokenLog(SignatureInvalid):
    """An audit log, or a proof of what is in it, is not what was signed."""


class RegisterError(MlsecError):
    """The register cannot be reached, or its schema is not the one this version needs.

    :ivar retry: False if somebody must change a setting first, such as a password.
    """

    def __init__(self, message: str, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


__all__ = [
    "AnotherRing",
    "BrokenLog",
    "ChangedMeanwhile",
    "CheckFailed",
    "ColumnMissing",
    "ColumnType",
    "CryptoError",
    "DatabaseUnavailable",
    "DatasetError",
    "DatasetNotFound",
    "DecryptionFailed",
    "GuaranteeNotMet",
    "KeyNotFound",
    "MlsecError",
    "PlanError",
    "PolicyError",
    "Refused",
    "RegisterError",
    "SettingError",
    "SignatureInvalid",
    "StorageFull",
    "UndeclaredColumn",
    "UnsafePermissions",
    "UnsupportedDataset",
    "UsageError",
]
