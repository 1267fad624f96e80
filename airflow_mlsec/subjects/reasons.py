"""What was done with a request, what became of each place, and why. See `ledger.Reason`."""

from __future__ import annotations

from airflow_mlsec.ledger import Reason


class RequestOpened(
    Reason,
    en="opened: {law} {kind}, due {due} ({article})",
    de="eröffnet: {law} {kind}, fällig am {due} ({article})",
):
    """Its clock runs."""

    law: str
    kind: str
    due: str
    article: str


class RequestExtended(
    Reason,
    en="extended to {due} ({article}): {reason}",
    de="verlängert bis {due} ({article}): {reason}",
):
    """The law's longer period is used."""

    due: str
    article: str
    reason: str


class IdentityVerified(
    Reason, en="identity verified: {evidence}", de="Identität geprüft: {evidence}"
):
    """The requester is the person."""

    evidence: str


class IdentityRefused(
    Reason,
    en="identity refused: {evidence}",
    de="Identität nicht anerkannt: {evidence}",
):
    """The requester is not the person, or could not show it."""

    evidence: str


class PersonChanged(
    Reason,
    en="who it is about was made more exact: {evidence}",
    de="genauer angegeben, um wen es geht: {evidence}",
):
    """What was found and approved before was of somebody else."""

    evidence: str


class KeyAdded(Reason, en="another key of the person", de="ein weiterer Schlüssel der Person"):
    """The person is looked for by it as well."""


class KeyChangedElsewhere(
    Reason,
    en="a key that this request knows was put right under another one; if it is the same person, add the new key "
    "(mlsec subject person)",
    de="ein Schlüssel, den dieser Antrag kennt, wurde unter einem anderen berichtigt; ist es dieselbe Person, so ist der neue "
    "hinzuzufügen (mlsec subject person)",
):
    """It cannot be told whether both requests are about one person."""


class SealUnopened(
    Reason,
    en="a key was put right under another request; whether it is of this person cannot be told: its sealing key is missing",
    de="ein Schlüssel wurde unter einem anderen Antrag berichtigt; ob er dieser Person gehört, ist nicht zu sagen: der Schlüssel "
    "ihrer Versiegelung fehlt",
):
    """Who the request is about cannot be read."""


class PersonLocated(
    Reason,
    en="located: found in {found} of {places} places",
    de="gesucht: an {found} von {places} Orten gefunden",
):
    """Somebody has looked where the person's data is."""

    found: int
    places: int


class ApprovalGiven(
    Reason,
    en="approved: {places} places, digest {digest}{excluded:; not those that only other programs' lineage names: {}}",
    de="genehmigt: {places} Orte, Prüfsumme {digest}{excluded:; nicht die, die nur die Herkunftsdaten anderer Programme nennen: "
    "{}}",
):
    """What the request asks for may be done in its places as they are."""

    places: int
    digest: str
    excluded: tuple[str, ...] = ()


class ApprovalTooNarrow(
    Reason,
    en="the approval does not cover what was found since: {places}; approve again",
    de="die Genehmigung umfasst nicht, was seither gefunden wurde: {places}; erneut zu genehmigen",
):
    """More was found than was approved."""

    places: tuple[str, ...]


class ApprovalOfOtherColumns(
    Reason,
    en="the approval does not cover {place} by column {columns}; approve again",
    de="die Genehmigung umfasst {place} nicht nach Spalte {columns}; erneut zu genehmigen",
):
    """Rows would be found otherwise than was approved."""

    place: str
    columns: tuple[str, ...]


class ApprovalOfFewerRows(
    Reason,
    en="the approval does not cover {rows:row|rows} of {place}; approve again",
    de="die Genehmigung umfasst {rows:Zeile|Zeilen} von {place} nicht; erneut zu genehmigen",
):
    """More rows are there than were approved."""

    place: str
    rows: int


class PlaceConfirmed(
    Reason,
    en="confirmed: column {column} of {place} is about the person: {reason}",
    de="bestätigt: Spalte {column} von {place} betrifft die Person: {reason}",
):
    """What was found by likeness is the person's. A column's name could be a value, so it is given by its number."""

    place: str
    column: int
    reason: str


class EntriesConfirmed(
    Reason,
    en="entries of {place} may go: {reason}",
    de="Einträge von {place} dürfen gelöscht werden: {reason}",
):
    """Whole entries are erased, whoever else stands in them."""

    place: str
    reason: str


class ErasureBegun(Reason, en="erasure begun", de="Löschung begonnen"):
    """What is to be erased was worked out."""


class ExportBegun(
    Reason,
    en="export begun to {recipients:recipient|recipients}",
    de="Ausgabe begonnen an {recipients:Empfänger|Empfänger}",
):
    """The person's data is being collected."""

    recipients: int


class ExportAnnounced(
    Reason,
    en="export is about to be written, sha256 {sha256}",
    de="Ausgabe wird geschrieben, sha256 {sha256}",
):
    """An archive of this digest may exist, whatever becomes of the process that writes it."""

    sha256: str


class DataExported(
    Reason,
    en="exported {rows:row|rows} of {places:place|places}, sha256 {sha256}",
    de="{rows:Zeile|Zeilen} von {places:Ort|Orten} ausgegeben, sha256 {sha256}",
):
    """The person's data was handed over."""

    rows: int
    places: int
    sha256: str


class DataRectified(
    Reason,
    en="rectified: {place}, column '{column}'",
    de="berichtigt: {place}, Spalte „{column}“",
):
    """A value was put right, where it came in and below."""

    place: str
    column: str


class ProcessingRestricted(Reason, en="processing restricted", de="Verarbeitung eingeschränkt"):
    """No release has the person in it."""


class RestrictionLifted(
    Reason,
    en="restriction lifted: {reason}",
    de="Einschränkung aufgehoben: {reason}",
):
    """Releases may have the person in them again."""

    reason: str


class LookedAgain(
    Reason,
    en="looked again at {places:place|places}",
    de="an {places:Ort|Orten} noch einmal nachgesehen",
):
    """Every place was searched once more, to see that nothing is left."""

    places: int


class RequestClosed(Reason, en="closed, receipt signed", de="abgeschlossen, Quittung signiert"):
    """Its purpose was met, and every place is settled."""


# --- what became of the person's data in one place


class SettledByHand(Reason, en="{reason} ({by})", de="{reason} ({by})"):
    """A person has decided, and says why."""

    reason: str
    by: str


class AboutAnother(
    Reason,
    en="who it is about was said otherwise: look again{before: (before that: {})}",
    de="es wurde anders angegeben, um wen es geht: es ist neu zu suchen{before: (vorher: {})}",
):
    """What was found before was of somebody else."""

    before: Reason | None = None


class WasBefore(Reason, en="{status}, {rows} rows found", de="{status}, {rows} Zeilen gefunden"):
    """What a place was found to be before."""

    status: str
    rows: int


class NeedsItsOwnYes(
    Reason,
    en="only other programs' lineage names it: it has to be approved by name (--place)",
    de="nur die Herkunftsdaten anderer Programme nennen es: es ist eigens zu genehmigen (--place)",
):
    """Approving the rest is not approving it."""


class KeptByLaw(Reason, en="kept by law: {duty}", de="kraft Gesetzes aufbewahrt: {duty}"):
    """The policy names a duty to keep."""

    duty: str


class KeptByHold(
    Reason,
    en="legal hold {number}: {reason}{version: (whose it is cannot be told: its key version {} is missing)}",
    de="Aufbewahrungspflicht {number}: {reason}{version: (wessen sie ist, ist nicht zu sagen: ihre Schlüsselversion {} fehlt)}",
):
    """A legal hold is in force."""

    number: int
    reason: str
    version: int | None = None


class MentionsKept(
    Reason,
    en="rows that mention the person are kept by the policy: {mentions}",
    de="Zeilen, die die Person erwähnen, behält die Richtlinie: {mentions}",
):
    """The rows are other people's."""

    mentions: tuple[Reason, ...]


class MentionsIn(Reason, en="{rows} in '{column}'", de="{rows} in „{column}“"):
    """Rows that mention the person in a column."""

    rows: int
    column: str


class WaitsFor(
    Reason,
    en="waits for {place}, whose rows can only be found through this place",
    de="wartet auf {place}, dessen Zeilen nur über diesen Ort zu finden sind",
):
    """Children are erased before their parents."""

    place: str


class ReferredToByKept(
    Reason,
    en="rows of {place}, which are kept, refer to it: a person decides",
    de="Zeilen von {place}, die aufbewahrt werden, verweisen darauf: ein Mensch entscheidet",
):
    """Erasing it would leave rows that refer to nothing."""

    place: str


class FoundByLikeness(
    Reason,
    en="found by likeness: confirm that it is the person's (mlsec subject confirm), or deal with it",
    de="durch Ähnlichkeit gefunden: zu bestätigen, dass es die Person betrifft (mlsec subject confirm), oder zu erledigen",
):
    """Searching widens, acting does not."""


class ToBeRebuilt(
    Reason,
    en="no rows to delete: rebuild or retrain it by its own DAG, without the person, or release it with the reason",
    de="keine Zeilen zu löschen: durch den eigenen DAG ohne die Person neu zu erstellen oder zu trainieren, oder mit Grund "
    "freizugeben",
):
    """What was made with the person's data is made anew."""


class CouldNotErase(
    Reason, en="could not be erased: {error}", de="konnte nicht gelöscht werden: {error}"
):
    """Erasing failed, and may be tried again."""

    error: str


class NothingRemoved(
    Reason,
    en="{rows} rows were found, and none of them could be removed",
    de="{rows} Zeilen wurden gefunden, und keine davon ließ sich entfernen",
):
    """Trying again does not make it better."""

    rows: int


class RowsErased(Reason, en="{rows} rows erased", de="{rows} Zeilen gelöscht"):
    """How many rows went."""

    rows: int


class RowsOfPerson(Reason, en="rows that are the person's: {rows}", de="Zeilen der Person: {rows}"):
    """How many rows there were."""

    rows: int


class FreeTextLeft(
    Reason,
    en="the person is named in free text, which a person must redact",
    de="die Person wird in Freitext genannt, den ein Mensch schwärzen muss",
):
    """The rows are somebody else's."""


class MoreMayBeThere(Reason, en="more may be there: {why}", de="es kann mehr da sein: {why}"):
    """What its columns lead to is not all."""

    why: tuple[Reason, ...]


class RowsAlike(
    Reason,
    en="{rows} are there by likeness: confirm that they are the person's, or deal with them",
    de="{rows} sind durch Ähnlichkeit da: zu bestätigen, dass sie der Person gehören, oder zu erledigen",
):
    """Rows with another spelling of the key."""

    rows: int


class GuaranteeBroken(
    Reason,
    en="without them the release does not hold what its policy promises: {checks}",
    de="ohne sie hält die Freigabe nicht, was ihre Richtlinie verspricht: {checks}",
):
    """Who is gone has made a class smaller."""

    checks: tuple[str, ...]


class GuaranteeUnknown(
    Reason,
    en="whether it still holds what its policy promises cannot be told: {checks}",
    de="ob sie noch hält, was ihre Richtlinie verspricht, ist nicht zu sagen: {checks}",
):
    """A check could not be made."""

    checks: tuple[str, ...]


class NoAirflowHere(
    Reason,
    en="Airflow's API cannot be reached from here",
    de="Airflows API ist von hier aus nicht zu erreichen",
):
    """There is no connection to it."""


class EntriesErased(
    Reason,
    en="{entries} entries of XCom and state erased",
    de="{entries} Einträge von XCom und Zustand gelöscht",
):
    """What could be removed over Airflow's API."""

    entries: int


class EntriesLeft(
    Reason,
    en="what is there by likeness a person looks at",
    de="was durch Ähnlichkeit da ist, sieht ein Mensch an",
):
    """Entries that may be other people's too."""


class NothingKeepsIt(Reason, en="nothing keeps it any more", de="nichts bewahrt es mehr"):
    """A hold ended, or a policy changed."""


class CodeMayStand(
    Reason,
    en="its code may stand in {place} still, or be another's too",
    de="sein Code kann noch in {place} stehen oder auch der einer anderen Person sein",
):
    """A token vault's entry is needed, or shared."""

    place: str


class CodesRemoved(
    Reason,
    en="{entries} entries removed: their codes mean nothing any more",
    de="{entries} Einträge entfernt: ihre Codes bedeuten nichts mehr",
):
    """Nobody can tell whose a code was."""

    entries: int


class ReceivedData(
    Reason,
    en="received {datasets}; to be told{by_hand:: tell them by hand, then settle it as manual}",
    de="hat {datasets} erhalten; zu benachrichtigen{by_hand:: von Hand, danach als manuell zu klären}",
):
    """A recipient is told what the person asked for (GDPR Art. 19)."""

    datasets: tuple[str, ...]
    by_hand: bool = False


class NotTold(Reason, en="{error}", de="{error}"):
    """A recipient could not be told."""

    error: str


class MailSent(Reason, en="mail sent", de="E-Mail gesendet"):
    """A recipient was told by mail."""


class ToldOver(
    Reason,
    en="told over {scheme}, answered {status}",
    de="benachrichtigt über {scheme}, Antwort {status}",
):
    """A recipient was told by a signed statement."""

    scheme: str
    status: int


class MadeAnew(
    Reason,
    en="made anew by run {run}, which began after its sources were dealt with",
    de="neu erstellt durch Lauf {run}, der begann, als seine Quellen erledigt waren",
):
    """It was made without the person."""

    run: str


class MadeAnewSince(
    Reason,
    en="it was made anew, and since then again, or its sources had the person again, or a release may appear here",
    de="es wurde neu erstellt und seither wieder, oder seine Quellen hatten die Person wieder, oder hier kann eine Freigabe "
    "erscheinen",
):
    """What it is made of now is not known to be without the person."""


class StaysRestricted(
    Reason,
    en="stays stored and is left out of further processing (GDPR Art. 18(2))",
    de="bleibt gespeichert und wird nicht weiter verarbeitet (Art. 18 Abs. 2 DSGVO)",
):
    """Processing is restricted."""


class StaysObjected(
    Reason,
    en="left out of further processing (GDPR Art. 21(1))",
    de="wird nicht weiter verarbeitet (Art. 21 Abs. 1 DSGVO)",
):
    """The person has objected."""


class StaysUnsold(
    Reason,
    en="left out of what is sold or shared (CCPA 1798.120)",
    de="wird weder verkauft noch weitergegeben (CCPA 1798.120)",
):
    """The person has opted out."""


class StaysLimited(
    Reason,
    en="left out of other uses (CCPA 1798.121)",
    de="wird nicht anderweitig verwendet (CCPA 1798.121)",
):
    """The person has limited the use."""


class RestrictionOver(Reason, en="restriction lifted", de="Einschränkung aufgehoben"):
    """Releases may have the person in them again."""


class PutRight(
    Reason,
    en="column '{column}' put right in {rows:row|rows}",
    de="Spalte „{column}“ in {rows:Zeile|Zeilen} berichtigt",
):
    """A value says what it should."""

    column: str
    rows: int


class CouldNotRectify(
    Reason, en="could not be rectified: {error}", de="konnte nicht berichtigt werden: {error}"
):
    """Putting right failed."""

    error: str


class ToBeMadeAnew(
    Reason,
    en="made from column '{column}': to be made anew by its own DAG",
    de="aus Spalte „{column}“ gemacht: durch den eigenen DAG neu zu erstellen",
):
    """It holds what was made from the wrong value."""

    column: str


class ValueWrongAgain(
    Reason,
    en="column '{column}' has another value again: put it right again",
    de="Spalte „{column}“ hat wieder einen anderen Wert: erneut zu berichtigen",
):
    """It was loaded again as it was."""

    column: str


class CopyHasOther(
    Reason,
    en="column '{column}' is a copy of what was put right, and has another value: put it right again",
    de="Spalte „{column}“ ist eine Kopie dessen, was berichtigt wurde, und hat einen anderen Wert: erneut zu berichtigen",
):
    """A copy of which nobody knew then."""

    column: str


class ValueRight(
    Reason,
    en="column '{column}' says what it should",
    de="Spalte „{column}“ sagt, was sie soll",
):
    """A second look found the right value."""

    column: str


# --- what a second look found


class ByPolicyOrLaw(Reason, en="the policy or the law", de="Richtlinie oder Gesetz"):
    """No person has decided."""


class ByPerson(Reason, en="{who}", de="{who}"):
    """A person has decided."""

    who: str


class Clean(Reason, en="clean ({how})", de="frei davon ({how})"):
    """The person is not there."""

    how: tuple[Reason, ...]


class CleanByScan(Reason, en="none by scan ({how})", de="keine beim Durchsuchen ({how})"):
    """A scan found nothing."""

    how: tuple[Reason, ...]


class Looked(Reason, en="{how}", de="{how}"):
    """How a second look was taken, as a connector says."""

    how: str


class NotLookedInto(
    Reason,
    en="not looked into: {why}{by:; by word of {}}",
    de="nicht durchsucht: {why}{by:; nach Angabe von {}}",
):
    """Nobody looked again."""

    why: tuple[Reason, ...]
    by: str | None = None


class CouldNotLookAgain(
    Reason,
    en="could not be looked at again: {why}",
    de="konnte nicht noch einmal durchsucht werden: {why}",
):
    """A second look failed."""

    why: tuple[Reason, ...]


class SecondLookFailed(Reason, en="failed: {error}", de="fehlgeschlagen: {error}"):
    """A second look failed."""

    error: str


class StillThere(
    Reason,
    en="still there{decided_by:, by decision of {}}: {what}",
    de="noch da{decided_by:, nach Entscheidung von {}}: {what}",
):
    """A second look found the person; ``decided_by`` if somebody has decided that it stays."""

    what: tuple[Reason, ...]
    decided_by: Reason | None = None


class StillThereByWord(
    Reason,
    en="still there, by word of {by}: {what}",
    de="noch da, nach Angabe von {by}: {what}",
):
    """A second look found something like the person, and somebody has said that it is dealt with."""

    what: tuple[Reason, ...]
    by: str


class RowsThere(Reason, en="{rows} rows ({how})", de="{rows} Zeilen ({how})"):
    """Rows that name the person."""

    rows: int
    how: str


class StillNamed(
    Reason,
    en="{rows} rows still name the person ({how})",
    de="{rows} Zeilen nennen die Person noch ({how})",
):
    """Erasing has left rows."""

    rows: int
    how: str


class RowsLeft(Reason, en="{rows} rows left ({how})", de="{rows} Zeilen übrig ({how})"):
    """Erasing has left rows."""

    rows: int
    how: str


class SharedRowsLeft(
    Reason,
    en="{rows} rows have a key that others share; which are left is by word of {by}",
    de="{rows} Zeilen haben einen Schlüssel, den andere teilen; welche übrig sind, steht nach Angabe von {by} fest",
):
    """Nothing there tells the people who share the key apart, so a person did."""

    rows: int
    by: str


class LikenessLeft(Reason, en="likeness is left: {hits}", de="Ähnliches ist übrig: {hits}"):
    """A scan found something like the person."""

    hits: tuple[Reason, ...]


class AlikeLeft(
    Reason,
    en="{rows} rows are there by likeness: another spelling of the key",
    de="{rows} Zeilen sind durch Ähnlichkeit da: eine andere Schreibweise des Schlüssels",
):
    """Rows with another spelling of the key."""

    rows: int


class NotKnown(
    Reason,
    en="unknown: {what}{by:; by word of {}}",
    de="nicht bekannt: {what}{by:; nach Angabe von {}}",
):
    """A second look does not settle it."""

    what: tuple[Reason, ...]
    by: str | None = None


class RebuiltAnew(Reason, en="rebuilt ({how})", de="neu erstellt ({how})"):
    """Lineage says that it was made without the person."""

    how: tuple[Reason, ...]


class RebuiltByWord(
    Reason,
    en="rebuilt, by word of {by}; a list of what it was made from before has the person",
    de="neu erstellt, nach Angabe von {by}; eine Liste dessen, woraus es vorher gemacht war, enthält die Person",
):
    """A person says that it was made without the person."""

    by: str


class SettledYetThere(
    Reason,
    en="settled as {status}{by: by {}}, and the person is still in it: {what}",
    de="geklärt als {status}{by: durch {}}, und die Person ist noch darin: {what}",
):
    """What a person has decided is not so."""

    status: str
    what: tuple[Reason, ...]
    by: str | None = None
