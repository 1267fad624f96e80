"""Every error this package raises, in one tree.

    MlsecError
    ├── UsageError (ValueError)              bad input or setting            exit code 2
    │   ├── SettingError
    │   ├── PolicyError                      file:line:column of the YAML
    │   ├── PlanError                        a plan that does not fit
    │   └── DatasetError
    │       ├── DatasetNotFound (FileNotFoundError)
    │       ├── ChangedMeanwhile                 try again
    │       ├── ColumnMissing (KeyError)
    │       ├── ColumnType (TypeError)
    │       └── UnsupportedDataset
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

from collections.abc import Iterable


def printable(text: str) -> str:
    """The text with characters escaped that a terminal would interpret or that cannot be encoded: file
    names can contain any."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


class MlsecError(Exception):
    """Base of all errors raised by this package. Its message never holds a data value."""

    exit_code = 2

    def __str__(self) -> str:
        # KeyError would print its argument's repr, quotes and escapes included.
        return printable(str(self.args[0])) if self.args else self.__class__.__name__


class UsageError(MlsecError, ValueError):
    """The input, setting or argument is wrong; trying again unchanged cannot help."""


class SettingError(UsageError):
    """A setting of section ``[mlsec]`` is missing or wrong."""


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


class ColumnMissing(DatasetError, KeyError):
    """The policy names a column that the dataset does not have."""

    @classmethod
    def among(cls, missing: Iterable[str], present: Iterable[str], policy: str) -> ColumnMissing:
        return cls(
            f"policy {policy} names {_columns(missing)}, which the dataset does not have; "
            f"it has {_columns(present)}. Fix `columns` in the policy, or the source."
        )


class ColumnType(DatasetError, TypeError):
    """A column has a type that the step cannot work on."""

    @classmethod
    def unusable(cls, column: str, found: object, expected: str, step: str) -> ColumnType:
        return cls(f"column '{column}' has type {found}; {step} needs {expected}")


class CheckFailed(MlsecError, AssertionError):
    """A compliance check, review or verification failed."""

    exit_code = 1


class Refused(MlsecError, PermissionError):
    """Refused for safety: going on could expose personal data."""

    exit_code = 3


class UndeclaredColumn(Refused):
    """The dataset has a column that its policy does not mention."""

    @classmethod
    def found(cls, columns: Iterable[str], dataset: str, policy: str) -> UndeclaredColumn:
        return cls(
            f"dataset {dataset} has {_columns(columns)}, which policy {policy} does not mention. "
            "Nothing was written. Declare each under `columns`, or set `unlisted_columns: drop`."
        )


class GuaranteeNotMet(Refused):
    """The data cannot meet, or did not meet, the guarantee that the policy requires."""


class UnsafePermissions(Refused):
    """A secret file can be read or changed by others."""


class CryptoError(MlsecError):
    """Base of the cryptographic failures."""

    exit_code = 3


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
    """The register cannot be reached, or its schema is not the one this version needs."""


def _columns(names: Iterable[str]) -> str:
    listed = sorted(names)
    if any("@" in name or (name and not any(c.isalpha() for c in name)) for name in listed):
        # Probably the first row of a file without a header: these may be values of a person.
        return f"{len(listed)} columns whose names look like values (does the file have a header?)"
    shown = ", ".join(f"'{name}'" for name in listed[:12])
    more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
    return f"column{'s' if len(listed) != 1 else ''} {shown or '(none)'}{more}"


__all__ = [
    "AnotherRing",
    "BrokenLog",
    "ChangedMeanwhile",
    "CheckFailed",
    "ColumnMissing",
    "ColumnType",
    "CryptoError",
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
    "UndeclaredColumn",
    "UnsafePermissions",
    "UnsupportedDataset",
    "UsageError",
]
