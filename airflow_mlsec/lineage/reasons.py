"""Why a release or an artifact is considered published, or not. See `ledger.Reason`."""

from __future__ import annotations

from airflow_mlsec.ledger import Reason


class SaidByItsProcess(Reason, en="by its own process{run: ({})}", de="durch den eigenen Prozess{run: ({})}"):  # fmt: skip
    """The process that was to publish it has reported that it did."""

    run: str | None = None


class SaidByAPerson(Reason, en="confirmed by a person", de="ein Mensch hat sich vergewissert"):
    """A person has checked, and takes responsibility for it."""


class AnnouncedFileThere(
    Reason, en="the file that was announced is there", de="die angekündigte Datei ist da"
):
    """Its digest is the one that was signed."""


class PublishedTooLate(
    Reason,
    en="it was published after it had been settled as not published, or after a later release",
    de="es wurde veröffentlicht, nachdem feststand, dass es das nicht wurde, oder nach einem späteren",
):
    """Nobody vouches any longer for what is there now."""


class SignedByNobodyTrusted(
    Reason, en="no trusted key signed it", de="kein vertrauter Schlüssel hat es signiert"
):
    """The statement is not believed."""


class TargetUnreadable(
    Reason,
    en="its target cannot be inspected: {error}",
    de="das Ziel kann nicht angesehen werden: {error}",
):
    """The inspection failed."""

    error: str


class SameAsAnother(
    Reason,
    en="another release was identical, and the process may still be running",
    de="ein anderes war gleich, und der Prozess läuft vielleicht noch",
):
    """The same rows processed by the same plan give the same bytes."""


class MayStillRun(
    Reason,
    en="the process that was to publish it may still be running, or ran elsewhere",
    de="der Prozess läuft vielleicht noch, oder lief anderswo",
):
    """Nobody knows yet."""


class NeverAppeared(
    Reason,
    en="its process has ended, and nothing is there",
    de="der Prozess ist beendet, und nichts ist da",
):
    """It was not published."""


class TableTellsNothing(
    Reason,
    en="its process has ended, and a table does not show which release it is: release it again",
    de="der Prozess ist beendet, und einer Tabelle sieht man nicht an, von welcher Veröffentlichung sie ist: noch einmal "
    "veröffentlichen",
):
    """Rows do not show which release they belong to."""


class OtherThere(
    Reason,
    en="its process has ended, and another file or table, or none, is there",
    de="der Prozess ist beendet, und eine andere Datei oder Tabelle, oder keine, ist da",
):
    """Nobody can tell whether it was there for a while."""


class ClientForgotten(
    Reason,
    en="what only the client '{client}' sent{since: since {}} is forgotten: {runs:run|runs}, {edges:edge|edges}",
    de="was nur der Client „{client}“{since: seit {}} geschickt hat, ist vergessen: {runs:Lauf|Läufe}, {edges:Kante|Kanten}",
):
    """Its lineage was false, or is no longer believed."""

    client: str
    runs: int
    edges: int
    since: str | None = None
