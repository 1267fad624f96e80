"""Why a release or an artifact is taken for published, or not. See `ledger.Reason`."""

from __future__ import annotations

from airflow_mlsec.ledger import Reason


class SaidByItsProcess(Reason, en="by its own process{run: ({})}", de="durch den eigenen Prozess{run: ({})}"):  # fmt: skip
    """The process that was to publish it has said that it did."""

    run: str | None = None


class SaidByAPerson(Reason, en="a person has made sure", de="ein Mensch hat sich vergewissert"):
    """Somebody has looked, and answers for it."""


class AnnouncedFileThere(
    Reason, en="the file that was announced is there", de="die angekündigte Datei ist da"
):
    """Its digest is the one that was signed."""


class PublishedTooLate(
    Reason,
    en="it was published after it had been settled that it was not, or after a later release",
    de="es wurde veröffentlicht, nachdem feststand, dass es das nicht wurde, oder nach einem späteren",
):
    """What is there now is nobody's word any more."""


class SignedByNobodyTrusted(
    Reason, en="no trusted key signed it", de="kein vertrauter Schlüssel hat es signiert"
):
    """The statement is not believed."""


class TargetUnreadable(
    Reason,
    en="its target cannot be looked at: {error}",
    de="das Ziel kann nicht angesehen werden: {error}",
):
    """Looking failed."""

    error: str


class SameAsAnother(
    Reason,
    en="another release was the same, and the process may still run",
    de="ein anderes war gleich, und der Prozess läuft vielleicht noch",
):
    """The same rows by the same plan are the same bytes."""


class MayStillRun(
    Reason,
    en="the process that was to publish it may still run, or ran elsewhere",
    de="der Prozess läuft vielleicht noch, oder lief anderswo",
):
    """Nobody knows yet."""


class NothingThere(
    Reason,
    en="its process has ended, and nothing is there",
    de="der Prozess ist beendet, und nichts ist da",
):
    """It was not published."""


class TableTellsNothing(
    Reason,
    en="its process has ended, and a table does not tell which release it is: release it again",
    de="der Prozess ist beendet, und einer Tabelle sieht man nicht an, von welcher Veröffentlichung sie ist: noch einmal "
    "veröffentlichen",
):
    """Rows do not tell whose they are."""


class OtherThere(
    Reason,
    en="its process has ended, and another file or table, or none, is there",
    de="der Prozess ist beendet, und eine andere Datei oder Tabelle, oder keine, ist da",
):
    """Whether it was there for a while nobody can tell."""
