"""How it is known whether a person is in a place, or why it is not known. See `ledger.Reason`."""

from __future__ import annotations

from airflow_mlsec.ledger import Reason

# --- what was found of a person


class TheKey(Reason, en="the key", de="der Schlüssel"):
    """The person's key, as it was given."""


class SpelledOtherwise(
    Reason, en="another spelling of the key", de="eine andere Schreibweise des Schlüssels"
):
    """A key in a spelling that was not given."""


class ReferredTo(
    Reason, en="what a foreign key refers to", de="worauf ein Fremdschlüssel verweist"
):
    """The value by which another table knows the person."""


class HashOfKey(
    Reason,
    en="the {name} of {other:another spelling of }the key{spelled: in another spelling}",
    de="{name} {other:einer anderen Schreibweise }des Schlüssels{spelled: in anderer Schreibweise}",
):
    """An unkeyed hash."""

    name: str
    other: bool = False
    spelled: bool = False


class PseudonymOfKey(
    Reason,
    en="a pseudonym ({key}, version {version})",
    de="ein Pseudonym ({key}, Version {version})",
):
    """What a release made of the person's key."""

    key: str
    version: int


class CodeOfKey(Reason, en="a random code (vault {vault})", de="ein Zufallscode (Tresor {vault})"):
    """The code that a token vault gave for the person's key."""

    vault: str


class WorkedOut(Reason, en="a computed erasure target", de="was als zu löschen ermittelt wurde"):
    """A value by which an erasure knew the person when it began."""


class KeyInName(Reason, en="the key in its name", de="der Schlüssel im Namen"):
    """The name of a file or an entry contains the key."""


class KeyAsColumnName(
    Reason, en="the key as a column's name", de="der Schlüssel als Name einer Spalte"
):
    """The name of a column is the key."""


class KeyAmongCategories(
    Reason, en="the key among the categories", de="der Schlüssel unter den Kategorien"
):
    """Values of a dictionary remain when no row has them any more."""


class HitTimes(Reason, en="{kinds} ({times} times)", de="{kinds} ({times}-mal)"):
    """Something of the person was found in text."""

    kinds: tuple[Reason, ...]
    times: int


class HitOfColumn(Reason, en="{kinds} (column {column})", de="{kinds} (Spalte {column})"):
    """Something of the person was found in a column's name or type."""

    kinds: tuple[Reason, ...]
    column: str


class HitInColumn(
    Reason,
    en="{kinds}{within: within longer text} in column '{column}' ({rows} rows)",
    de="{kinds}{within: innerhalb längeren Textes} in Spalte „{column}“ ({rows} Zeilen)",
):
    """Something of the person was found in rows."""

    kinds: tuple[Reason, ...]
    column: str
    rows: int
    within: bool = False


# --- how the person is found in a place


class RawValue(Reason, en="raw value in column '{column}'", de="Rohwert in Spalte „{column}“"):
    """The column has the key unchanged."""

    column: str


class PseudonymInColumn(
    Reason,
    en="pseudonym in column '{column}' ({key}, versions searched: {versions:none}{spellings:, in {} plausible spellings of the "
    "key})",
    de="Pseudonym in Spalte „{column}“ ({key}, durchsuchte Versionen: {versions:keine}{spellings:, in {} plausiblen Schreibweisen "
    "des Schlüssels})",
):
    """The column has pseudonyms of a release."""

    column: str
    key: str
    versions: tuple[str, ...]
    spellings: int | None = None


class CodeInColumn(
    Reason,
    en="random code in column '{column}' (vault {vault})",
    de="Zufallscode in Spalte „{column}“ (Tresor {vault})",
):
    """The column has codes of a token vault."""

    column: str
    vault: str


class WhatKeyBecame(
    Reason,
    en="a value derived from the key in column '{column}'",
    de="was aus dem Schlüssel wurde in Spalte „{column}“",
):
    """A person has confirmed that the column is about the person."""

    column: str


class FreeTextIn(
    Reason,
    en="free text in column '{column}' ({rows} rows)",
    de="Freitext in Spalte „{column}“ ({rows} Zeilen)",
):
    """Text names the person."""

    column: str
    rows: int


class SpelledRows(
    Reason,
    en="by likeness: {rows} rows with another spelling of the key",
    de="durch Ähnlichkeit: {rows} Zeilen mit einer anderen Schreibweise des Schlüssels",
):
    """Rows that may be the person's."""

    rows: int


class Likeness(Reason, en="likeness: {hits}", de="Ähnlichkeit: {hits}"):
    """What a scan found."""

    hits: tuple[Reason, ...]


class MembershipList(Reason, en="membership list", de="Mitgliederliste"):
    """A list of a release's members has the key."""


class MembershipSpelled(
    Reason,
    en="membership list, by likeness: another spelling of the key",
    de="Mitgliederliste, durch Ähnlichkeit: eine andere Schreibweise des Schlüssels",
):
    """A list of a release's members has another spelling of the key."""


class ByScan(Reason, en="scan", de="Durchsuchen"):
    """It was looked through."""


class ScanOfColumns(Reason, en="scan of every column", de="Durchsuchen jeder Spalte"):
    """It was looked through."""


class ScanOfUndeclared(
    Reason,
    en="scan of {files} files and tables that nobody declared, {size}{unread:, not read: {}}",
    de="Durchsuchen von {files} Dateien und Tabellen, die niemand deklariert hat, {size}{unread:, nicht gelesen: {}}",
):
    """What is below a data root. ``unread`` is a digest of what could not be read: a person's decision applies only to
    exactly these files."""

    files: int
    size: str
    unread: str | None = None


class ValueIn(
    Reason,
    en="value in {entries}{more:; and {} more}",
    de="Wert in {entries}{more:; und {} weitere}",
):
    """Entries of Airflow's own stores."""

    entries: tuple[Reason, ...]
    more: int | None = None


class Entry(Reason, en="{where} ({kinds})", de="{where} ({kinds})", code="entry-of-store"):
    """One entry and what it contains."""

    where: str
    kinds: tuple[Reason, ...]


class BucketVersions(Reason, en="bucket versions", de="Versionen des Buckets"):
    """What a bucket lists."""


class LinksOfFiles(Reason, en="hard links", de="harte Verweise"):
    """What a filesystem says."""


class TableEffects(Reason, en="triggers and views", de="Trigger und Sichten"):
    """What a database lists."""


class CodeOfPerson(Reason, en="code of the person", de="Code der Person"):
    """What a token vault has."""


class Contact(Reason, en="{address}", de="{address}"):
    """The address for notifying a recipient."""

    address: str


class NoContact(Reason, en="no contact in the policy", de="keine Kontaktadresse in der Richtlinie"):
    """Somebody has to notify the recipient by hand."""


# --- how it is known that a column names the person


class SubjectKey(
    Reason, en="the policy's subject key", de="der Schlüssel der Person laut Richtlinie"
):
    """The policy says which column names people."""


class ForeignKey(
    Reason,
    en="the policy's foreign key to {dataset}",
    de="der Fremdschlüssel auf {dataset} laut Richtlinie",
):
    """The policy says what rows refer to."""

    dataset: str


class MentionOfPerson(
    Reason,
    en="the policy's mention of a person",
    de="die Erwähnung einer Person laut Richtlinie",
):
    """The policy says that a column names people who do not own the row."""


class ReleasedUnderPlan(
    Reason, en="signed release, plan {plan}", de="signierte Freigabe, Plan {plan}"
):
    """Signed evidence says what is there."""

    plan: str


class CopyOfKey(
    Reason,
    en="lineage: an unchanged copy of the key",
    de="Herkunft: eine unveränderte Kopie des Schlüssels",
):
    """The column was copied from one that names people."""


class CopyOfPseudonym(
    Reason,
    en="lineage: an unchanged copy of the pseudonym",
    de="Herkunft: eine unveränderte Kopie des Pseudonyms",
):
    """The column was copied from a release."""


class CopyOfCode(
    Reason,
    en="lineage: an unchanged copy of the code",
    de="Herkunft: eine unveränderte Kopie des Codes",
):
    """The column was copied from a release with random codes."""


class CopyOfReference(
    Reason,
    en="lineage: an unchanged copy of what a foreign key refers to",
    de="Herkunft: eine unveränderte Kopie dessen, worauf ein Fremdschlüssel verweist",
):
    """The column was copied from one that another table refers to."""


class SignedRelease(Reason, en="a signed release", de="eine signierte Freigabe"):
    """Signed evidence says what is there."""


class ConfirmedByPerson(
    Reason,
    en="found by likeness, and confirmed by {by}",
    de="durch Ähnlichkeit gefunden und von {by} bestätigt",
):
    """Somebody has said that it is the person's."""

    by: str


# --- what was found, or not


class RowsRead(Reason, en="{rows:row|rows} read", de="{rows:Zeile|Zeilen} gelesen"):
    """What had to be read."""

    rows: int


class RowsRuledOut(
    Reason,
    en="{rows} of {total} rows read, the others ruled out by statistics and bloom filters",
    de="{rows} von {total} Zeilen gelesen, die anderen durch Statistiken und Bloomfilter ausgeschlossen",
):
    """The rows that had to be read, and the rows that did not."""

    rows: int
    total: int


class FreeTextNames(Reason, en="free text names the person", de="Freitext nennt die Person"):
    """The rows are somebody else's, or nobody's."""


class IsView(
    Reason,
    en="a view: its content is erased together with the rows of its tables",
    de="eine Sicht: was sie zeigt, verschwindet mit den Zeilen der Tabellen, die sie zeigt",
):
    """It has no rows of its own."""


class SpellingToConfirm(
    Reason,
    en="rows found by likeness are neither exported, erased nor rectified until their spelling is confirmed as a key of "
    "the person (mlsec subject person --also -)",
    de="durch Ähnlichkeit gefundene Zeilen werden weder ausgegeben noch gelöscht noch berichtigt, bis ihre Schreibweise als "
    "Schlüssel der Person bestätigt ist (mlsec subject person --also -)",
):
    """Searching widens, acting does not."""


class LikenessToConfirm(
    Reason,
    en="nothing is done with a likeness until a person confirms the place (mlsec subject confirm), or deals with it "
    "(mlsec subject settle)",
    de="durch Ähnlichkeit geschieht nichts, bis jemand den Ort bestätigt (mlsec subject confirm) oder erledigt hat (mlsec "
    "subject settle)",
):
    """Searching widens, acting does not."""


class Undeclared(
    Reason,
    en="nobody declared it, and it lies below a data root",
    de="niemand hat es deklariert, und es liegt unter einem Datenordner",
    code="undeclared-place",
):
    """No policy and no lineage names it."""


class NoRows(Reason, en="it is there, and has no rows", de="es ist da und hat keine Zeilen"):
    """Nobody is in it."""


class NothingThere(Reason, en="nothing is there any more", de="es ist nichts mehr da"):
    """It was there before."""


class PlaceDropped(
    Reason,
    en="lineage: {event} {at}, and nothing is there any more",
    de="Herkunft: {event} {at}, und es ist nichts mehr da",
):
    """A place that was dropped according to lineage is indeed not there."""

    event: str
    at: str


class OtherName(
    Reason,
    en="another name of {place}, which is looked into",
    de="ein anderer Name von {place}, wo gesucht wird",
):
    """The place of that name gives the answer."""

    place: str


class AllParts(
    Reason,
    en="a folder; all {parts} parts of it are places themselves",
    de="ein Ordner; alle {parts} Teile davon sind selbst Orte",
):
    """Its parts give the answers."""

    parts: int


class AnonymousRelease(
    Reason,
    en="anonymous: a verified release whose policy names who claims it",
    de="anonym: eine geprüfte Freigabe, deren Richtlinie nennt, wer das behauptet",
):
    """A named person claims that it is no longer about anybody."""


class ReleaseListed(
    Reason,
    en="signed release {source}, plan {plan}",
    de="signierte Freigabe {source}, Plan {plan}",
):
    """Its membership list says who is in it."""

    source: str
    plan: str


class MadeOfRelease(
    Reason,
    en="lineage to the release {source}, plan {plan}",
    de="Herkunft bis zur Freigabe {source}, Plan {plan}",
):
    """The membership list of what it was made from says who is in it."""

    source: str
    plan: str


class NoneByScan(
    Reason,
    en="none by scan ({files:file or table|files or tables}, {size}: every column): neither key, pseudonym nor common hash "
    "is there",
    de="keine beim Durchsuchen ({files:Datei oder Tabelle|Dateien oder Tabellen}, {size}: jede Spalte): weder Schlüssel noch "
    "Pseudonym noch übliche Prüfsumme steht dort",
):
    """Everything was scanned. Less than "none": a row without any key is not seen."""

    files: int
    size: str


class LookedThrough(
    Reason,
    en="every column and byte was looked through",
    de="jede Spalte und jedes Byte wurde durchsucht",
):
    """A scan read it completely."""


class RootLookedThrough(
    Reason,
    en="not declared, and below a data root; every column and byte was looked through",
    de="nicht deklariert und unter einem Datenordner; jede Spalte und jedes Byte wurde durchsucht",
):
    """A scan read everything that was not declared."""


class OthersNamed(
    Reason,
    en="{found} more hold something like the person and are listed separately",
    de="{found} außer diesen enthalten etwas, das der Person ähnelt, und sind einzeln genannt",
):
    """Separate findings."""

    found: int


class PassedOver(
    Reason,
    en="values of foreign keys were searched for only in columns of the same name ({what})",
    de="wie Fremdschlüssel sie nennen, wurde nur in Spalten ihres Namens gesucht ({what})",
):
    """They are too short or too common to be searched for everywhere."""

    what: tuple[Reason, ...]


# --- why it is not known


class CouldNotSearch(
    Reason,
    en="could not be searched: {error}",
    de="konnte nicht durchsucht werden: {error}",
):
    """An error is also reported as a finding."""

    error: str


class OtherSubjects(
    Reason,
    en="released under a policy of other subjects",
    de="freigegeben nach einer Richtlinie über andere Personen",
):
    """Its membership list is about other people."""


class ChangedSinceEvidence(
    Reason,
    en="the file is not the one that its evidence names: it was written or restored since then",
    de="die Datei ist nicht die, die ihr Nachweis nennt: sie wurde seither geschrieben oder zurückgespielt",
):
    """No evidence says what is in it."""


class PublicationOpen(
    Reason,
    en="a release was going to be published here, and nobody knows yet whether it was (mlsec db reconcile)",
    de="hier sollte eine Freigabe veröffentlicht werden, und niemand weiß bisher, ob das geschah (mlsec db reconcile)",
):
    """A release that was announced may have appeared."""


class KeyRemoved(
    Reason,
    en="signed release, plan {plan}: the key was removed and no membership list was kept",
    de="signierte Freigabe, Plan {plan}: der Schlüssel wurde entfernt und keine Mitgliederliste geführt",
):
    """Nothing says who is in it."""

    plan: str


class NoMembershipList(
    Reason,
    en="lineage leads here from people's data, and no membership list says who is in it",
    de="seine Quellen reichen der Herkunft nach hierher, und keine Mitgliederliste sagt, wer darin ist",
):
    """Nothing says who is in it."""


class WrittenUnexplained(
    Reason,
    en="a run wrote it, and its inputs are not known",
    de="ein Lauf hat es geschrieben, und nichts sagt, woraus",
):
    """Lineage does not say what may be in it."""


class SharedKey(
    Reason,
    en="{people} people seem to share this key: its rows differ in {columns}. Say which one it is (--only COLUMN=VALUE), or "
    "that they are one (--one-person); if other columns tell people apart, list them in `subject.distinguished_by`",
    de="{people} Personen scheinen diesen Schlüssel zu teilen: seine Zeilen unterscheiden sich in {columns}. Es ist zu sagen, "
    "welche gemeint ist (--only SPALTE=WERT) oder dass es eine ist (--one-person); eine Richtlinie, deren Personen sich anders "
    "unterscheiden, sagt das in `subject.distinguished_by`",
):
    """One person's data must not be handed over to another."""

    people: int
    columns: tuple[str, ...]


class SharingUntold(
    Reason,
    en="{why}, so it is unknown whether others share the key: correct that, or settle the place (mlsec subject settle)",
    de="{why}, also ist nicht zu sagen, ob andere den Schlüssel teilen: es ist in Ordnung zu bringen, oder es ist zu sagen, was "
    "daraus wurde (mlsec subject settle)",
):
    """A dataset that tells people apart cannot be searched."""

    why: Reason


class RowsMissing(Reason, en="no rows are there", de="es sind keine Zeilen da"):
    """A dataset is empty."""


class DatasetMissing(Reason, en="nothing is there", de="es ist nichts da"):
    """A dataset is not where it should be."""


class ErrorSays(Reason, en="{error}", de="{error}"):
    """The message of an error."""

    error: str


class MentionsOpen(
    Reason,
    en="rows name the person in column {columns}, and other people in other columns: a policy of {place} has to say {owners:what "
    "happens to a mention (`subject.mentions`)}{no_owner:whose row it is (`subject.key`)}",
    de="Zeilen nennen die Person in Spalte {columns} und andere Personen in anderen Spalten: eine Richtlinie von {place} muss "
    "sagen, {owners:was mit einer Erwähnung geschieht (`subject.mentions`)}{no_owner:wessen Zeile es ist (`subject.key`)}",
):
    """Being mentioned is not owning a row."""

    columns: tuple[str, ...]
    place: str
    owners: bool
    no_owner: bool


class ListHasSharedKey(
    Reason,
    en="the membership list has the key, which others share: it is unknown whose it is",
    de="die Mitgliederliste enthält den Schlüssel, den andere teilen: wessen er ist, ist nicht zu sagen",
):
    """A list of keys does not tell people apart."""


class ReferenceShared(
    Reason,
    en="{place} refers to column '{column}' of {parent}, {form:where other people's values are the same in the form that its "
    "policy declares}{same:and other people's rows there have the same values}: it is unknown whose rows these are",
    de="{place} verweist auf Spalte „{column}“ von {parent}, {form:wo die Werte anderer in der Form, die seine Richtlinie angibt, "
    "dieselben sind}{same:und Zeilen anderer haben dort dieselben Werte}: wessen Zeilen das sind, ist nicht zu sagen",
):
    """What a foreign key refers to is several people's."""

    place: str
    column: str
    parent: str
    form: bool
    same: bool


class NothingTellsApart(
    Reason,
    en="others share the person's key, and {place} has no copy of {columns} to tell them apart",
    de="andere teilen den Schlüssel der Person, und {place} enthält {columns} nicht, woran sie zu unterscheiden wären",
):
    """The columns that tell people apart are not there."""

    place: str
    columns: tuple[str, ...]


class TellingOfOtherType(
    Reason,
    en="others share the person's key, and column '{column}' of {place}, which tells them apart, has another type than the "
    "given value",
    de="andere teilen den Schlüssel der Person, und Spalte „{column}“ von {place}, an der sie zu unterscheiden sind, hat einen "
    "anderen Typ als die Angabe",
):
    """The given value cannot occur there."""

    column: str
    place: str


class NumbersTooLong(
    Reason,
    en="column '{column}' of '{dataset}' has floating-point numbers ({type}), which cannot distinguish numbers as long as "
    "the person's: it is unknown whose rows these are",
    de="Spalte „{column}“ von „{dataset}“ enthält Gleitkommazahlen ({type}), die für mehrere so lange Zahlen wie die der Person "
    "dieselben sind: wessen Zeilen das sind, ist nicht zu sagen",
):
    """A type cannot tell keys apart."""

    column: str
    dataset: str
    type: str


class RowsOfPeopleGone(
    Reason,
    en="{rows} rows refer to people who are not in {dataset} (any more): it is unknown whose rows they are",
    de="{rows} Zeilen verweisen auf Personen, die nicht (mehr) in {dataset} sind: wessen sie sind, ist nicht zu sagen",
):
    """They may have been the person's."""

    rows: int
    dataset: str


class FilesWithoutColumn(
    Reason,
    en="{files} of its files do not have the column used for searching: it is unknown whose rows they have",
    de="{files} Dateien davon haben die Spalte nicht, nach der Zeilen gesucht werden: wessen ihre sind, ist nicht bekannt",
):
    """Part of a folder has no key."""

    files: int


class FilesOfOtherFormat(
    Reason,
    en="{files} of its files are not Parquet and were not searched",
    de="{files} Dateien davon sind kein Parquet und wurden nicht durchsucht",
):
    """Part of a folder is of another format."""

    files: int


class TagsUnlisted(
    Reason,
    en="it was made before the policy treated addresses with other tags as one person's, and those cannot be listed: "
    "release it again",
    de="es wurde erstellt, bevor die Richtlinie Adressen mit anderen Zusätzen als die einer Person nahm, und die lassen sich nicht "
    "aufzählen: es ist neu freizugeben",
):
    """Pseudonyms were made from an unlimited set of spellings."""


class KeyVersionUnusable(
    Reason,
    en="key {key} version {version} {why}",
    de="Schlüssel {key} Version {version} {why}",
):
    """The person may be there under this key version but cannot be searched for."""

    key: str
    version: int
    why: Reason


class KeyAbsent(Reason, en="is not in this key ring", de="ist nicht in diesem Schlüsselbund"):
    """The ring has no such version."""


class KeyDestroyed(Reason, en="is destroyed", de="ist vernichtet"):
    """Nobody can use it any more."""


class KeyScheduled(
    Reason,
    en="is scheduled for destruction (mlsec keys restore)",
    de="ist zur Vernichtung vorgesehen (mlsec keys restore)",
):
    """It can be restored."""


class KeyDiffers(
    Reason,
    en="is not the key that was used: this key ring is another one, or a copy that was rotated separately",
    de="ist ein anderer Schlüssel als der verwendete: dieser Schlüsselbund ist ein anderer oder eine Kopie, die getrennt "
    "weitergeführt wurde",
):
    """Its fingerprint is not the one that evidence names."""


class StatementsUnsigned(
    Reason,
    en="{number} statements about releases are not signed by this key ring",
    de="{number} Aussagen über Freigaben sind nicht mit diesem Schlüsselbund signiert",
):
    """What they say is not trusted, but may be true."""

    number: int


class NotScannedFor(
    Reason,
    en="{what} is not scanned for: it does not identify anybody",
    de="{what} wird nicht gesucht: das trifft auf zu viele zu",
):
    """Too many values are the same by chance."""

    what: tuple[Reason, ...]


class TooShort(
    Reason,
    en="a key of fewer than {characters} characters",
    de="ein Schlüssel mit weniger als {characters} Zeichen",
):
    """Others have it by chance."""

    characters: int


class TooFewDigits(
    Reason,
    en="a number of fewer than {digits} digits",
    de="eine Zahl mit weniger als {digits} Stellen",
):
    """Others have it by chance."""

    digits: int


class SingleWord(
    Reason,
    en="a single word, which others may have as well",
    de="ein einzelnes Wort, das auch auf andere zutreffen kann",
):
    """Others have it by chance."""


class NotSettledByScan(
    Reason,
    en="a scan does not settle it: {why}",
    de="ein Durchsuchen klärt es nicht: {why}",
):
    """Not finding the person there proves nothing."""

    why: tuple[Reason, ...]


class RootNotSettled(
    Reason,
    en="not declared, and below a data root; a scan does not settle it: {why}",
    de="nicht deklariert und unter einem Datenordner; ein Durchsuchen klärt es nicht: {why}",
):
    """Some of what nobody declared could not be scanned."""

    why: tuple[Reason, ...]


class OtherColumnsOpen(
    Reason,
    en="a scan does not settle whether it has other columns of the person's: {why}",
    de="ein Durchsuchen klärt nicht, ob es weitere Spalten der Person hat: {why}",
):
    """Some of it could not be scanned."""

    why: tuple[Reason, ...]


class NothingToScan(Reason, en="nothing to scan is there", de="es ist nichts zu durchsuchen da"):
    """There are no bytes."""


class OfSome(
    Reason,
    en="{files} of them: {why} ({named}{more: and {} more})",
    de="{files} davon: {why} ({named}{more: und {} weitere})",
):
    """What could not be scanned, grouped by reason."""

    files: int
    why: Reason
    named: tuple[str, ...]
    more: int | None = None


class LeftOutByBudget(
    Reason,
    en="left out by the byte budget ([mlsec] scan_budget)",
    de="wegen der Obergrenze an Bytes ausgelassen ([mlsec] scan_budget)",
):
    """A scan reads no more than it may."""


class NotScanned(
    Reason,
    en="not looked through, since no scan was wanted",
    de="nicht durchsucht, da kein Durchsuchen gewünscht war",
):
    """Somebody said so."""


class LinkLeadsOut(
    Reason,
    en="a link that leads out of the data roots",
    de="ein Verweis, der aus den Datenordnern hinausführt",
):
    """Links are followed within the data roots only."""


class FolderUnreadable(
    Reason, en="a folder that cannot be read", de="ein Ordner, der nicht gelesen werden kann"
):
    """Its content is not known."""


class TablesUnread(
    Reason,
    en="a file of tables, none of which is read",
    de="eine Datei mit Tabellen, von der nichts gelesen wird",
):
    """Its connector reads none of it."""


class CannotRead(Reason, en="cannot be read ({error})", de="kann nicht gelesen werden ({error})"):
    """``error`` is the kind of error: its message may quote a value."""

    error: str


class CannotList(
    Reason, en="cannot be listed ({error})", de="kann nicht aufgelistet werden ({error})"
):
    """``error`` is the kind of error."""

    error: str


class RootMissing(Reason, en="the data root is not there", de="der Datenordner ist nicht da"):
    """A disk may not be mounted."""


class BelowNoRoot(
    Reason,
    en="it is not below a data root of this process",
    de="es liegt unter keinem Datenordner dieses Prozesses",
):
    """Another process may be able to search it."""


class NotFromHere(
    Reason,
    en="it cannot be looked into from here",
    de="von hier aus kann es nicht durchsucht werden",
):
    """Something is there that this process does not read."""


class ModelOpaque(
    Reason,
    en="what a model or another artifact has learned or stored cannot be read from it",
    de="was ein Modell oder ein anderes Artefakt aufgenommen hat, ist ihm nicht abzulesen",
):
    """It may contain the person in its weights."""


class ReleaseMayAppear(
    Reason, en="a release may appear here", de="hier kann eine Freigabe erscheinen"
):
    """One was announced."""


class KeysTakenOut(
    Reason,
    en="a release removed the keys",
    de="eine Freigabe hat die Schlüssel entfernt",
):
    """Rows of the person have no key there."""


class KeylessCopies(
    Reason,
    en="it has copies of columns of people's rows ({columns}), but no column names the people",
    de="es enthält Kopien von Spalten aus Zeilen über Personen ({columns}) und keine Spalte, die sagt, wessen",
):
    """Rows of the person have no key there."""

    columns: tuple[str, ...]


# --- parts of a file that could not be read


class Damaged(
    Reason,
    en="damaged or of an unknown kind ({error})",
    de="beschädigt oder von unbekannter Art ({error})",
):
    """``error`` is the kind of error."""

    error: str


class Encrypted(Reason, en="encrypted", de="verschlüsselt"):
    """Nobody can read it here."""


class ArchiveInArchive(Reason, en="archives within archives", de="Archive in Archiven"):
    """They are not unpacked: they may grow without end."""


class TableInArchive(Reason, en="a table within an archive", de="eine Tabelle in einem Archiv"):
    """Its compressed columns are not read there."""


class MailParts(
    Reason,
    en="parts of mails in base64 or quoted-printable",
    de="Teile von E-Mails in Base64 oder Quoted-Printable",
):
    """They are encoded."""


class NoKnownFormat(
    Reason,
    en="not text, and not in a format that is read",
    de="kein Text und in keinem Format, das gelesen wird",
):
    """A value may be encoded there."""


class LettersUnknown(
    Reason,
    en="text whose letters beyond ASCII have an unknown encoding",
    de="Text, dessen Buchstaben außerhalb von ASCII auf unbekannte Weise geschrieben sind",
):
    """A key with such letters may be written differently there."""


class ColumnNotLookedInto(
    Reason,
    en="column {number} has a type that is not searched",
    de="Spalte {number} hat einen Typ, der nicht durchsucht wird",
):
    """The column is given by number, since its name may be a value."""

    number: int


class PartUnread(Reason, en="{what}", de="{what}"):
    """A part of a file that its connector does not read."""

    what: str


# --- Airflow's own stores


class StoresLookedThrough(
    Reason,
    en="looked through, as far as the connection's user may read: {entries:nothing is there}",
    de="durchsucht, soweit der Benutzer der Verbindung lesen darf: {entries:es ist nichts da}",
):
    """How many entries of each store were scanned."""

    entries: tuple[Reason, ...]


class EntriesOfStore(Reason, en="{number} of {store}", de="{number} von {store}"):
    """Entries of one store."""

    number: int
    store: str


class EntriesUnread(Reason, en="{number} entries {why}", de="{number} Einträge {why}"):
    """Entries that could not be scanned."""

    number: int
    why: Reason


class MaskedByAirflow(Reason, en="masked by Airflow", de="von Airflow verdeckt"):
    """Its API hides the value."""


class KeptByBackend(
    Reason,
    en="kept elsewhere by an XCom backend",
    de="von einem XCom-Backend anderswo gehalten",
):
    """The value lies in an object store."""


class ApiCannotDelete(
    Reason,
    en="Airflow's API cannot delete these: a person deletes them, or waits until they expire",
    de="Airflows API kann diese nicht löschen: jemand löscht sie oder wartet, bis sie verfallen",
):
    """What is erased by hand."""


class EntriesAlike(
    Reason,
    en="{entries} by likeness or together with other values: a person looks at them, or confirms that they may be erased "
    "(mlsec subject confirm)",
    de="{entries} durch Ähnlichkeit oder neben anderen Werten: jemand sieht sie an oder sagt, dass sie gelöscht werden dürfen "
    "(mlsec subject confirm)",
):
    """They may also concern other people."""

    entries: int


class StoresNotSettled(Reason, en="that does not settle it: {why}", de="das klärt es nicht: {why}"):
    """Not finding the person there proves nothing."""

    why: tuple[Reason, ...]


class StoresUnreached(
    Reason,
    en="they could not be looked through: {error}",
    de="sie konnten nicht durchsucht werden: {error}",
):
    """Airflow did not answer, or refused."""

    error: str


# --- copies that an erasure does not reach by itself


class VersionsErased(
    Reason,
    en="{erased} old versions erased{left:, {} are left}",
    de="{erased} alte Versionen gelöscht{left:, {} sind noch da}",
):
    """What a bucket had kept."""

    erased: int
    left: int | None = None


class VersionsKept(
    Reason,
    en="they may have the person's rows: a rule of the bucket or a person deletes them, or this package does ([mlsec] "
    "erase_old_versions = true)",
    de="sie können Zeilen der Person enthalten: eine Regel des Buckets oder jemand löscht sie, oder dieses Programm ([mlsec] "
    "erase_old_versions = true)",
):
    """A bucket keeps old versions."""


class NoVersionsKept(Reason, en="the bucket keeps none", de="der Bucket behält keine"):
    """There are no old versions."""


class HardLinks(
    Reason,
    en="{links} hard links, which are other names of its files, keep the rows that were erased: find them (find / -samefile) "
    "and remove them",
    de="{links} harte Verweise, also andere Namen seiner Dateien, behalten die gelöschten Zeilen: sie sind zu finden (find / "
    "-samefile) und zu entfernen",
):
    """Replaced files still exist under other names."""

    links: int


class SideEffects(
    Reason,
    en="{effects} of the table may have a copy of the rows that were erased, or have changed others: look there (refresh views), "
    "and settle it",
    de="{effects} der Tabelle können eine Kopie der gelöschten Zeilen enthalten oder andere geändert haben: dort ist nachzusehen "
    "(Sichten sind zu erneuern) und der Ort zu klären",
):
    """What a database does when rows are deleted."""

    effects: tuple[str, ...]


class BeyondReach(
    Reason,
    en="not looked into, and not changed: {kept}",
    de="nicht durchsucht und nicht geändert: {kept}",
):
    """It cannot be determined from here whether they are gone."""

    kept: tuple[Reason, ...]


class DatabaseKeeps(
    Reason,
    en="the write-ahead log, replicas and backups of the database",
    de="das Write-Ahead-Log, Repliken und Sicherungen der Datenbank",
):
    """Copies of a database."""


class FilesystemKeeps(
    Reason,
    en="snapshots and backups of the filesystem",
    de="Schnappschüsse und Sicherungen des Dateisystems",
):
    """Copies of a filesystem."""


class StoreKeeps(
    Reason,
    en="replicas and backups of the bucket",
    de="Repliken und Sicherungen des Buckets",
):
    """Copies of an object store."""


class MembersKept(
    Reason,
    en="the person's tag (a keyed digest) on {lists} lists of members, by which models that were trained with them are known",
    de="das Kennzeichen der Person (eine Prüfsumme mit Schlüssel) auf {lists} Mitgliederlisten, an denen Modelle zu erkennen sind, "
    "die mit ihr trainiert wurden",
):
    """The tags show which models were trained with the person."""

    lists: int
