"""What on-call should do about a failed task, and what became of its output. See `ledger.Reason`."""

from __future__ import annotations

from airflow_mlsec.ledger import Reason


class DeclareColumn(
    Reason,
    en="ask the owner of the source to declare the new column in the policy (or to drop it there), then clear the task",
    de="den Verantwortlichen der Quelle bitten, die neue Spalte in der Policy zu deklarieren (oder dort zu entfernen), dann den Task zurücksetzen (Clear)",
):
    """The source has a column that the policy does not mention."""


class CorrectColumns(
    Reason,
    en="the source lost a column, or its type changed: correct the source or the policy, then clear the task",
    de="in der Quelle fehlt eine Spalte oder ihr Typ hat sich geändert: Quelle oder Policy berichtigen, dann den Task zurücksetzen (Clear)",
):
    """Source and policy do not fit."""


class DoNotWeaken(
    Reason,
    en="the data does not reach the guarantee of the policy. The cause says which limit would be sufficient: do not "
    "weaken it on your own; ask the policy's owner",
    de="die Daten erreichen die Garantie der Policy nicht. Die Ursache nennt, welche Grenze reichen würde: nicht "
    "eigenmächtig lockern, sondern den Verantwortlichen der Policy fragen",
):
    """Anonymizing did not reach k, or the checker disagrees."""


class ReadControls(
    Reason,
    en="read the task's log: it has one line per control, and those that failed say why",
    de="das Log des Tasks lesen: es hat eine Zeile je Kontrolle, und die nicht bestandenen nennen den Grund",
):
    """A control failed."""


class RestoreKeys(
    Reason,
    en="make the right key ring available ([mlsec] key_ring, its permissions and its root key), then clear the task. If it "
    "may have been exposed, rotate its keys",
    de="den richtigen Schlüsselring verfügbar machen ([mlsec] key_ring, seine Rechte, sein Wurzelschlüssel), dann den Task "
    "zurücksetzen (Clear). Falls er offenlag, die Schlüssel wechseln",
):
    """A key is missing, or is another ring's, or can be read by others."""


class TreatAsIncident(
    Reason,
    en="treat it as an incident: keep the file as it is, and find out who changed it",
    de="als Vorfall behandeln: die Datei lassen, wie sie ist, und feststellen, wer sie verändert hat",
):
    """Something is not what was signed."""


class CheckTheKey(
    Reason,
    en="see whether the file was encrypted for the key that the task uses: whoever made it can encrypt or rewrap it for that "
    "key; then clear the task. If it was, the file was changed: treat it as an incident, keep it as it is, and find out who did it",
    de="prüfen, ob die Datei für den Schlüssel verschlüsselt wurde, den der Task verwendet: wer sie erstellt hat, kann sie für diesen "
    "Schlüssel verschlüsseln oder umschlüsseln; dann den Task zurücksetzen (Clear). Falls ja, wurde die Datei verändert: als Vorfall "
    "behandeln, sie lassen, wie sie ist, und feststellen, wer das war",
):
    """A file does not decrypt: the wrong key, or a changed file; which of them is not told."""


class WaitForDatabase(
    Reason,
    en="make the database available (the cause names host, port and code), then clear the task. Nothing has to be "
    "cleaned up",
    de="die Datenbank verfügbar machen (die Ursache nennt Host, Port und Code), dann den Task zurücksetzen (Clear). "
    "Aufzuräumen ist nichts",
):
    """A database cannot be reached."""


class CorrectConnection(
    Reason,
    en="correct the Airflow connection or the setting that the cause names (user, password, database, rights), then clear "
    "the task",
    de="die Airflow-Connection oder Einstellung berichtigen, die die Ursache nennt (Nutzer, Passwort, Datenbank, Rechte), "
    "dann den Task zurücksetzen (Clear)",
):
    """A database refused, or a setting is wrong."""


class FreeSpace(
    Reason,
    en="free space on the device that the cause names, then clear the task. No half-written file is left",
    de="auf dem genannten Datenträger Platz schaffen, dann den Task zurücksetzen (Clear). Eine halb geschriebene Datei "
    "liegt nicht herum",
):
    """A disk is full."""


class ClearTask(
    Reason,
    en="another program changed the data meanwhile: clear the task",
    de="ein anderes Programm hat die Daten inzwischen geändert: den Task zurücksetzen (Clear)",
):
    """It may succeed if it is run again."""


class MakeReachable(
    Reason,
    en="make the place that the cause names reachable, then clear the task: every step can be repeated. The request's "
    "deadline keeps running (mlsec subject status)",
    de="den in der Ursache genannten Ort erreichbar machen, dann den Task zurücksetzen (Clear): jeder Schritt ist "
    "wiederholbar. Die Frist der Anfrage läuft weiter (mlsec subject status)",
):
    """A data-subject request waits for a place."""


class CorrectInput(
    Reason,
    en="correct the input or the setting that the cause names, then clear the task",
    de="die Eingabe oder Einstellung berichtigen, die die Ursache nennt, dann den Task zurücksetzen (Clear)",
):
    """The task was given something wrong."""


class AskOwner(
    Reason,
    en="it was refused for safety. Do not work around it: ask the policy's owner",
    de="es wurde aus Sicherheitsgründen verweigert. Nicht umgehen, sondern den Verantwortlichen der Policy fragen",
):
    """Going on could expose personal data."""


class LookForKilledWorker(
    Reason,
    en="no error was reported: the worker was killed or lost (memory, eviction, a restart). Look at its host or pod, then "
    "clear the task. What the killed task left is removed by the next run",
    de="es wurde kein Fehler gemeldet: der Worker wurde beendet oder ging verloren (Speicher, Verdrängung, Neustart). Host "
    "oder Pod ansehen, dann den Task zurücksetzen (Clear). Was der Task hinterließ, entfernt der nächste Lauf",
):
    """The process ended without saying why."""


class ReadLog(
    Reason,
    en="read the task's log. If the message is withheld there, run the same step with `mlsec` and MLSEC_TRACEBACK=1 on a "
    "terminal that you trust",
    de="das Log des Tasks lesen. Ist die Meldung dort zurückgehalten: denselben Schritt mit `mlsec` und MLSEC_TRACEBACK=1 "
    "auf einem vertrauenswürdigen Terminal ausführen",
):
    """An error that is not one of this package."""


# --- what became of the output


class NothingPublished(
    Reason,
    en="nothing. What was at the target before is unchanged",
    de="nichts. Was vorher am Ziel war, ist unverändert",
):
    """The task failed before it published."""


class PublishesNothing(
    Reason, en="this task publishes nothing", de="dieser Task veröffentlicht nichts"
):
    """The task has no output."""


class PublishedBefore(
    Reason,
    en="YES, before the task failed; its evidence is recorded",
    de="JA, bevor der Task scheiterte; der Nachweis ist verzeichnet",
):
    """The task failed after it had published."""


class PublishingUnknown(
    Reason,
    en="not known: a release may have been about to be published. Run `mlsec db reconcile`",
    de="nicht bekannt: eine Veröffentlichung kann bevorgestanden haben. `mlsec db reconcile` ausführen",
):
    """The task ended between announcing and publishing, published too late, or before anything told what it writes."""


class RegisterCannotSay(
    Reason,
    en="not known: the register cannot be reached",
    de="nicht bekannt: das Register ist nicht erreichbar",
):
    """Nothing tells."""


class Recovered(
    Reason,
    en="the task succeeded again; on-call was notified through {channels}",
    de="der Task ist wieder gelungen; Bereitschaft benachrichtigt über {channels}",
):
    """A task about which there was an alert has succeeded."""

    channels: tuple[str, ...]


class AlertSent(
    Reason,
    en="on-call was notified ({severity}) through {channels}",
    de="Bereitschaft benachrichtigt ({severity}), über {channels}",
):
    """Somebody was notified that a task failed."""

    severity: str
    channels: tuple[str, ...]
