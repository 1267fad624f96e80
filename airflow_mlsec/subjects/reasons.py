"""What was done with a request, the outcome for each place, and why. See `ledger.Reason`."""

from __future__ import annotations

from airflow_mlsec.ledger import Reason


class RequestOpened(
    Reason,
    en="opened: {law} {kind}, due {due} ({article})",
    de="eröffnet: {law} {kind}, fällig am {due} ({article})",
):
    """The deadline runs from now on."""

    law: str
    kind: str
    due: str
    article: str


class RequestExtended(
    Reason,
    en="extended to {due} ({article}): {reason}",
    de="verlängert bis {due} ({article}): {reason}",
):
    """The law's extended period is used."""

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
    en="the description of the person was made more exact: {evidence}",
    de="genauer angegeben, um wen es geht: {evidence}",
):
    """What was found and approved before belonged to somebody else."""

    evidence: str


class KeyAdded(Reason, en="another key of the person", de="ein weiterer Schlüssel der Person"):
    """The person is also searched for by this key."""


class KeyChangedElsewhere(
    Reason,
    en="a key of this request was rectified under another request; if it is the same person, add the new key "
    "(mlsec subject person)",
    de="ein Schlüssel, den dieser Antrag kennt, wurde unter einem anderen berichtigt; ist es dieselbe Person, so ist der neue "
    "hinzuzufügen (mlsec subject person)",
):
    """It is unknown whether both requests are about the same person."""


class SealUnopened(
    Reason,
    en="a key was rectified under another request; it is unknown whether it is this person's: its sealing key is missing",
    de="ein Schlüssel wurde unter einem anderen Antrag berichtigt; ob er dieser Person gehört, ist nicht zu sagen: der Schlüssel "
    "ihrer Versiegelung fehlt",
):
    """Who the request is about cannot be read."""


class PersonLocated(
    Reason,
    en="located: found in {found} of {places} places",
    de="gesucht: an {found} von {places} Orten gefunden",
):
    """The person's data was located."""

    found: int
    places: int


class ApprovalGiven(
    Reason,
    en="approved: {places} places, digest {digest}{excluded:; not those that only other programs' lineage names: {}}",
    de="genehmigt: {places} Orte, Prüfsumme {digest}{excluded:; nicht die, die nur die Herkunftsdaten anderer Programme nennen: "
    "{}}",
):
    """What the request asks for may be done in its places in their current state."""

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
    en="the approval does not cover rows of {place} found by column {columns}; approve again",
    de="die Genehmigung umfasst {place} nicht nach Spalte {columns}; erneut zu genehmigen",
):
    """Rows would be found in another way than was approved."""

    place: str
    columns: tuple[str, ...]


class ApprovalOfFewerRows(
    Reason,
    en="the approval does not cover {rows:row|rows} of {place}; approve again",
    de="die Genehmigung umfasst {rows:Zeile|Zeilen} von {place} nicht; erneut zu genehmigen",
):
    """There are more rows than were approved."""

    place: str
    rows: int


class PlaceConfirmed(
    Reason,
    en="confirmed: column {column} of {place} is about the person: {reason}",
    de="bestätigt: Spalte {column} von {place} betrifft die Person: {reason}",
):
    """What was found by likeness is the person's. A column name could be a value, so its number is given instead."""

    place: str
    column: int
    reason: str


class EntriesConfirmed(
    Reason,
    en="entries of {place} may be erased: {reason}",
    de="Einträge von {place} dürfen gelöscht werden: {reason}",
):
    """Whole entries are erased, even if they name other people too."""

    place: str
    reason: str


class ErasureBegun(Reason, en="erasure begun", de="Löschung begonnen"):
    """Everything that will be erased has been computed."""


class ExportBegun(
    Reason,
    en="export started to {recipients:recipient|recipients}",
    de="Ausgabe begonnen an {recipients:Empfänger|Empfänger}",
):
    """The person's data is being collected."""

    recipients: int


class ExportAnnounced(
    Reason,
    en="export is about to be written, sha256 {sha256}",
    de="Ausgabe wird geschrieben, sha256 {sha256}",
):
    """An archive with this digest may exist, whatever happens to the process that writes it."""

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
    """A value was rectified, at its source and downstream."""

    place: str
    column: str


class ProcessingRestricted(Reason, en="processing restricted", de="Verarbeitung eingeschränkt"):
    """No release contains the person."""


class RestrictionLifted(
    Reason,
    en="restriction lifted: {reason}{told:; the person was told: {}}",
    de="Einschränkung aufgehoben: {reason}{told:; die Person wurde unterrichtet: {}}",
):
    """Releases may contain the person again. ``told`` is how and when the person was told before, if not by a letter."""

    reason: str
    told: str | None = None


class LookedAgain(
    Reason,
    en="looked again at {places:place|places}",
    de="an {places:Ort|Orten} noch einmal nachgesehen",
):
    """Every place was searched again to check that nothing is left."""

    places: int


class RequestClosed(Reason, en="closed, receipt signed", de="abgeschlossen, Quittung signiert"):
    """Its purpose was met, and every place is settled."""


# --- the outcome for the person's data in one place


class SettledByHand(Reason, en="{reason} ({by})", de="{reason} ({by})"):
    """A person has decided and given a reason."""

    reason: str
    by: str


class AboutAnother(
    Reason,
    en="the person was specified differently: locate again{before: (before that: {})}",
    de="es wurde anders angegeben, um wen es geht: es ist neu zu suchen{before: (vorher: {})}",
):
    """What was found before belonged to somebody else."""

    before: Reason | None = None


class WasBefore(Reason, en="{status}, {rows} rows found", de="{status}, {rows} Zeilen gefunden"):
    """The earlier state of a place."""

    status: str
    rows: int


class NeedsItsOwnYes(
    Reason,
    en="only other programs' lineage names it: it has to be approved by name (--place)",
    de="nur die Herkunftsdaten anderer Programme nennen es: es ist eigens zu genehmigen (--place)",
):
    """Approving the other places does not approve this one."""


class KeptByLaw(Reason, en="kept by law: {duty}", de="kraft Gesetzes aufbewahrt: {duty}"):
    """The policy names a duty to keep."""

    duty: str


class KeptByHold(
    Reason,
    en="legal hold {number}: {reason}{version: (it is unknown whose hold it is: its key version {} is missing)}",
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
    """Erasing the row would leave other rows that refer to nothing."""

    place: str


class FoundByLikeness(
    Reason,
    en="found by likeness: confirm that it is the person's (mlsec subject confirm), or deal with it",
    de="durch Ähnlichkeit gefunden: zu bestätigen, dass es die Person betrifft (mlsec subject confirm), oder zu erledigen",
):
    """Searching covers similar values; acting does not."""


class ToBeRebuilt(
    Reason,
    en="no rows to delete: rebuild or retrain it by its own DAG, without the person, or release it with the reason",
    de="keine Zeilen zu löschen: durch den eigenen DAG ohne die Person neu zu erstellen oder zu trainieren, oder mit Grund "
    "freizugeben",
):
    """What was made with the person's data is rebuilt."""


class CouldNotErase(
    Reason, en="could not be erased: {error}", de="konnte nicht gelöscht werden: {error}"
):
    """Erasing failed and may be retried."""

    error: str


class NothingRemoved(
    Reason,
    en="{rows} rows were found, and none of them could be removed",
    de="{rows} Zeilen wurden gefunden, und keine davon ließ sich entfernen",
):
    """Retrying does not help."""

    rows: int


class RowsErased(Reason, en="{rows} rows erased", de="{rows} Zeilen gelöscht"):
    """How many rows were erased."""

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
    """Following its columns may not find everything."""

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
    en="without the erased rows, the release breaks the guarantees of its policy: {checks}",
    de="ohne sie hält die Freigabe nicht, was ihre Richtlinie verspricht: {checks}",
):
    """Erasing people has made an equivalence class smaller."""

    checks: tuple[str, ...]


class GuaranteeUnknown(
    Reason,
    en="it is unknown whether the release still keeps the guarantees of its policy: {checks}",
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
    """What could be removed through Airflow's API."""

    entries: int


class EntriesLeft(
    Reason,
    en="a person must look at what was found by likeness",
    de="was durch Ähnlichkeit da ist, sieht ein Mensch an",
):
    """Entries that may also concern other people."""


class NothingKeepsIt(Reason, en="nothing keeps it any more", de="nichts bewahrt es mehr"):
    """A hold has ended, or a policy has changed."""


class CodeMayStand(
    Reason,
    en="its code may still be in {place}, or may also be another person's",
    de="sein Code kann noch in {place} stehen oder auch der einer anderen Person sein",
):
    """A token vault's entry is still needed, or is shared."""

    place: str


class CodesRemoved(
    Reason,
    en="{entries} entries removed: their codes mean nothing any more",
    de="{entries} Einträge entfernt: ihre Codes bedeuten nichts mehr",
):
    """Nobody can find out any more whose a code was."""

    entries: int


class ReceivedData(
    Reason,
    en="received {datasets}; must be told{by_hand:: tell them by hand, then settle it as manual}",
    de="hat {datasets} erhalten; zu benachrichtigen{by_hand:: von Hand, danach als manuell zu klären}",
):
    """A recipient is notified of what the person asked for (GDPR Art. 19)."""

    datasets: tuple[str, ...]
    by_hand: bool = False


class NotTold(Reason, en="{error}", de="{error}"):
    """A recipient could not be notified."""

    error: str


class ToldBefore(
    Reason,
    en="was told of an earlier correction, and has to be told of this one",
    de="wurde von einer früheren Berichtigung unterrichtet, und ist es von dieser noch nicht",
):
    """A recipient of data that was rectified again."""


class MailSent(Reason, en="mail sent", de="E-Mail gesendet"):
    """A recipient was notified by mail."""


class ToldOver(
    Reason,
    en="notified over {scheme}, answered {status}",
    de="benachrichtigt über {scheme}, Antwort {status}",
):
    """A recipient was notified with a signed statement."""

    scheme: str
    status: int


class MadeAnew(
    Reason,
    en="made anew by run {run}, which began after its sources were dealt with",
    de="neu erstellt durch Lauf {run}, der begann, als seine Quellen erledigt waren",
):
    """It was rebuilt without the person."""

    run: str


class MadeAnewSince(
    Reason,
    en="it was rebuilt, but then rebuilt again, or its sources had the person again, or a release may appear here",
    de="es wurde neu erstellt und seither wieder, oder seine Quellen hatten die Person wieder, oder hier kann eine Freigabe "
    "erscheinen",
):
    """It is not known whether its current content was made without the person."""


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
    """The person has limited the use of the data."""


class RestrictionOver(Reason, en="restriction lifted", de="Einschränkung aufgehoben"):
    """Releases may contain the person again."""


class PutRight(
    Reason,
    en="column '{column}' rectified in {rows:row|rows}",
    de="Spalte „{column}“ in {rows:Zeile|Zeilen} berichtigt",
):
    """The value is now correct."""

    column: str
    rows: int


class CouldNotRectify(
    Reason, en="could not be rectified: {error}", de="konnte nicht berichtigt werden: {error}"
):
    """Rectification failed."""

    error: str


class ToBeMadeAnew(
    Reason,
    en="made from column '{column}': to be made anew by its own DAG",
    de="aus Spalte „{column}“ gemacht: durch den eigenen DAG neu zu erstellen",
):
    """It contains data made from the wrong value."""

    column: str


class ValueWrongAgain(
    Reason,
    en="column '{column}' has another value again: rectify it again",
    de="Spalte „{column}“ hat wieder einen anderen Wert: erneut zu berichtigen",
):
    """The old value was loaded again."""

    column: str


class CopyHasOther(
    Reason,
    en="column '{column}' is a copy of a rectified column and has another value: rectify it again",
    de="Spalte „{column}“ ist eine Kopie dessen, was berichtigt wurde, und hat einen anderen Wert: erneut zu berichtigen",
):
    """A copy that was not known at that time."""

    column: str


class ValueRight(
    Reason,
    en="column '{column}' has the right value",
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
    """The person was not found there."""

    how: tuple[Reason, ...]


class CleanByScan(Reason, en="none by scan ({how})", de="keine beim Durchsuchen ({how})"):
    """A scan found nothing."""

    how: tuple[Reason, ...]


class Looked(Reason, en="{how}", de="{how}"):
    """How the second look was done, according to the connector."""

    how: str


class NotLookedInto(
    Reason,
    en="not looked into: {why}{by:; settled by {}}",
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
    """A second look found the person; ``decided_by`` is set if somebody decided to keep it."""

    what: tuple[Reason, ...]
    decided_by: Reason | None = None


class StillThereByWord(
    Reason,
    en="still there, settled by {by}: {what}",
    de="noch da, nach Angabe von {by}: {what}",
):
    """A second look found something like the person, and somebody has said that it was dealt with."""

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
    en="{rows} rows have a key that others share; which of them remain was decided by {by}",
    de="{rows} Zeilen haben einen Schlüssel, den andere teilen; welche übrig sind, steht nach Angabe von {by} fest",
):
    """Nothing there distinguishes the people who share the key, so a person decided."""

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
    en="unknown: {what}{by:; settled by {}}",
    de="nicht bekannt: {what}{by:; nach Angabe von {}}",
):
    """A second look could not settle it."""

    what: tuple[Reason, ...]
    by: str | None = None


class RebuiltAnew(Reason, en="rebuilt ({how})", de="neu erstellt ({how})"):
    """According to lineage, it was made without the person."""

    how: tuple[Reason, ...]


class RebuiltByWord(
    Reason,
    en="rebuilt, according to {by}; a list of what it was made from before has the person",
    de="neu erstellt, nach Angabe von {by}; eine Liste dessen, woraus es vorher gemacht war, enthält die Person",
):
    """Somebody says that it was made without the person."""

    by: str


class SettledYetThere(
    Reason,
    en="settled as {status}{by: by {}}, and the person is still in it: {what}",
    de="geklärt als {status}{by: durch {}}, und die Person ist noch darin: {what}",
):
    """What somebody has decided turned out not to be true."""

    status: str
    what: tuple[Reason, ...]
    by: str | None = None


# --- why data of the person is not in the archive that was handed over; the letter says it to the person


class NamedInText(
    Reason,
    en="you are named there in a text about somebody or something else",
    de="Sie werden dort in einem Text über jemand oder etwas anderes genannt",
):
    """The row is not the person's, only a text in it names the person."""


class NamedInRecords(
    Reason,
    en="records of the system that runs our processing name you",
    de="Aufzeichnungen des Systems, das unsere Verarbeitung ausführt, nennen Sie",
):
    """Airflow's own stores contain the person's data."""


class RowsNotDetermined(
    Reason,
    en="it was made with your data, but it cannot be determined which of its rows are yours",
    de="es wurde mit Ihren Daten erstellt, aber es lässt sich nicht feststellen, welche Zeilen Ihre sind",
):
    """The person was in what the table was made from, and nothing identifies the rows."""


class NoRowsToCopy(
    Reason,
    en="a {kind} that was made with your data; it has no rows that could be copied",
    de="wurde mit Ihren Daten erstellt ({kind}) und hat keine Zeilen, die kopiert werden könnten",
):
    """A model or an artifact."""

    kind: str


class PseudonymShared(
    Reason,
    en="it has your data under a pseudonym that others have too, and which rows are yours is unknown",
    de="es enthält Ihre Daten unter einem Pseudonym, das auch andere haben; welche Zeilen Ihre sind, ist nicht bekannt",
):
    """Several people have the same pseudonym."""


class FilesNotSearched(
    Reason,
    en="not all of its files could be searched: {why}",
    de="nicht alle Dateien davon konnten durchsucht werden: {why}",
):
    """The archive may be incomplete."""

    why: Reason


class LetterWritten(
    Reason,
    en="letter '{letter}' ({language}) written, sha256 {sha256}{on:, announcing {}}{missing:; not recorded anywhere: {}}",
    de="Schreiben „{letter}“ ({language}) erstellt, sha256 {sha256}{on:, angekündigt für {}}{missing:; nirgends verzeichnet: {}}",
):
    """A letter to the data subject exists. ``missing`` is what the letter says is not recorded."""

    letter: str
    language: str
    sha256: str
    missing: tuple[str, ...]
    # The day that it announces.
    on: str | None = None


class LetterSent(
    Reason,
    en="letter '{letter}' sent on {day} by {channel}",
    de="Schreiben „{letter}“ gesendet am {day} über {channel}",
):
    """Somebody says that a letter was sent, when, and how."""

    letter: str
    day: str
    channel: str


class ClockPaused(
    Reason,
    en="the deadline stands still from {day}, since the identity was asked for",
    de="die Frist ruht ab {day}, weil nach der Identität gefragt wurde",
):
    """GDPR Art. 12(6): nothing can be done before it is known who asks."""

    day: str


class ClockResumed(
    Reason,
    en="the deadline runs again; due {due} after a pause of {days:day|days}",
    de="die Frist läuft wieder; fällig am {due} nach einer Pause von {days:Tag|Tagen}",
):
    """The identity was settled."""

    due: str
    days: int


class NotPortable(
    Reason,
    en="it is not data that you provided to us and that we process with your consent or under a contract",
    de="es sind keine Daten, die Sie uns bereitgestellt haben und die wir mit Ihrer Einwilligung oder aufgrund eines Vertrags verarbeiten",
):
    """GDPR Art. 20(1) does not cover it; Art. 15 does."""


class NotAllSearched(
    Reason,
    en="not all of its files could be searched, so there may be more",
    de="nicht alle Dateien davon konnten durchsucht werden, es kann also mehr geben",
):
    """`FilesNotSearched`, for the data subject."""


class OthersMention(
    Reason,
    en="rows of other people mention you, and are theirs",
    de="Zeilen anderer Menschen erwähnen Sie, und gehören zu ihnen",
):
    """`MentionsKept`, for the data subject."""
