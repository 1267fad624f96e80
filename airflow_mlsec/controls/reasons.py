"""Why controls hold or do not. See `ledger.Reason`."""

from __future__ import annotations

from airflow_mlsec.ledger import Reason


class Stated(Reason, en="stated", de="angegeben"):
    """The policy states it."""


class NotStated(
    Reason, en="the policy states no `{key}`", de="die Richtlinie gibt kein `{key}` an"
):
    """The policy does not state it."""

    key: str


class NothingPersonal(
    Reason, en="nothing personal is in it", de="es ist nichts Personenbezogenes darin"
):
    """The rule is about personal data only."""


class NoLongerThere(
    Reason,
    en="it is no longer there, or no longer concerned",
    de="es ist nicht mehr da oder nicht mehr betroffen",
):
    """The rule was once about this asset."""


class NoLongerAnswered(
    Reason,
    en="the control no longer says anything about it, though it is there",
    de="die Kontrolle sagt nichts mehr darüber, obwohl es da ist",
):
    """What was found before does not disappear."""


class QueryAnswered(Reason, en="the query says {outcome}", de="die Abfrage sagt {outcome}"):
    """What a control that asks the register found."""

    outcome: str


class NoPolicy(Reason, en="no policy is known for it", de="keine Richtlinie dafür ist bekannt"):
    """Nobody has declared the dataset."""


class NotSigned(
    Reason,
    en="the register's evidence for it is not signed by a trusted key",
    de="der Nachweis im Register dafür ist von keinem vertrauten Schlüssel signiert",
):
    """What the evidence says does not count."""


class WrittenSince(
    Reason,
    en="another run has written there since the release was signed",
    de="ein anderer Lauf hat dort geschrieben, seit die Freigabe signiert wurde",
):
    """What is there now is not what the evidence is about."""


class HalfDone(
    Reason,
    en="a newer one was announced, and nobody knows whether it was published",
    de="eine neuere wurde angekündigt, und niemand weiß, ob sie veröffentlicht wurde",
):
    """A task ended between announcing and publishing."""


class Columns(Reason, en="{number:column|columns}", de="{number:Spalte|Spalten}"):
    """All columns are as they should be."""

    number: int


class NoCategory(Reason, en="no category: {columns}", de="ohne Kategorie: {columns}"):
    """Columns without a category."""

    columns: tuple[str, ...]


class Undeclared(Reason, en="not declared: {columns}", de="nicht deklariert: {columns}"):
    """Columns that the policy does not declare."""

    columns: tuple[str, ...]


class UndeclaredUnnamed(
    Reason,
    code="undeclared-columns-unnamed",
    en="not declared: {number:column|columns} whose names may be values (does the file have a header?)",
    de="nicht deklariert: {number:Spalte|Spalten}, deren Namen Werte sein können (hat die Datei eine Kopfzeile?)",
):
    """Columns that the policy does not declare, and whose names are not repeated: they may be a person's row."""

    number: int


class Missing(
    Reason, en="declared but missing: {columns}", de="deklariert, aber nicht da: {columns}"
):
    """Columns that the dataset does not have."""

    columns: tuple[str, ...]


class NotApplicableHere(Reason, en="{error}", de="{error}"):
    """A method cannot be applied to a column."""

    error: str


class NoDateColumn(
    Reason,
    en="`retention.from` names '{column}', which the dataset does not have",
    de="`retention.from` nennt „{column}“, das der Datenbestand nicht hat",
):
    """Retention counts from a column that is not there."""

    column: str


class NoDate(Reason, en="column '{column}' has type {type}; retention counts from a date", de="Spalte „{column}“ hat den Typ {type}; die Aufbewahrung zählt ab einem Datum"):  # fmt: skip
    """Retention counts from a column that is not a date."""

    column: str
    type: str


class Overdue(
    Reason,
    en="{overdue} of {rows:record is|records are} past {period}, {undated} undated",
    de="{overdue} von {rows:Datensatz|Datensätzen} älter als {period}, {undated} ohne Datum",
):
    """Records are kept too long, or it is unknown how long they have been kept."""

    overdue: int
    rows: int
    period: str
    undated: int


class Within(Reason, en="{rows:record|records} within {period}", de="{rows:Datensatz|Datensätze} innerhalb von {period}"):  # fmt: skip
    """No record is kept too long."""

    rows: int
    period: str


class Properties(
    Reason,
    en="{number:property|properties} verified",
    de="{number:Eigenschaft|Eigenschaften} geprüft",
):
    """The properties that the policy promises hold."""

    number: int


class DoesNotHold(Reason, en="{check} ({detail})", de="{check} ({detail})"):
    """The independent checker rejects a property; the words are the checker's."""

    check: str
    detail: str


class WrongColumns(Reason, en="columns differ from what the policy releases: {columns}", de="andere Spalten, als die Richtlinie freigibt: {columns}"):  # fmt: skip
    """A release does not have exactly the columns that it should have."""

    columns: tuple[str, ...]


class NotPseudonyms(Reason, en="values of column {column} do not have the form of pseudonyms", de="Werte der Spalte {column} haben nicht die Form von Pseudonymen"):  # fmt: skip
    """A pseudonymized column has values that are not pseudonyms."""

    column: str


class LooksLikeMail(Reason, en="column {column} has what looks like e-mail addresses", de="Spalte {column} enthält, was wie E-Mail-Adressen aussieht"):  # fmt: skip
    """A text column has e-mail addresses."""

    column: str


class RawValuesSomewhere(
    Reason,
    en="identifying values of the source occur in {number:column|columns} whose names may be values (does the file have a header?)",
    de="identifizierende Werte der Quelle stehen in {number:Spalte|Spalten}, deren Namen Werte sein können (hat die Datei eine Kopfzeile?)",
):
    """A release has values that identify people, in columns whose names are not repeated: they may be a person's row."""

    number: int


class Formats(
    Reason, en="{number:format|formats} as expected", de="{number:Format|Formate} wie erwartet"
):
    """All formats are as they should be."""

    number: int


class SuiteFailed(Reason, en="{expectations}", de="{expectations}"):
    """Expectations of a suite that are not met."""

    expectations: tuple[str, ...]


class SuiteMet(
    Reason, en="{number:expectation|expectations} met", de="{number:Erwartung|Erwartungen} erfüllt"
):
    """All expectations of a suite are met."""

    number: int


class NotCompared(
    Reason,
    en="the source of the release was not given, so nothing was compared",
    de="die Quelle der Freigabe wurde nicht angegeben, also wurde nichts verglichen",
):
    """There is nothing to compare a release with."""


class RawValuesIn(Reason, en="identifying values of the source occur in: {columns}", de="identifizierende Werte der Quelle stehen in: {columns}"):  # fmt: skip
    """A release has values that identify people."""

    columns: tuple[str, ...]


class Compared(
    Reason,
    en="{values:value|values} of {columns:identifying column|identifying columns} compared",
    de="{values:Wert|Werte} von {columns:identifizierenden Spalte|identifizierenden Spalten} verglichen",
):
    """No identifying value was found."""

    values: int
    columns: int


class NoRegister(Reason, en="no register was given", de="es wurde kein Register angegeben"):
    """Evidence cannot be looked up."""


class NoEvidence(Reason, en="the register has no evidence for this dataset", de="das Register hat keinen Nachweis für diesen Datenbestand"):  # fmt: skip
    """No signed evidence states how the dataset was made."""


class OtherPolicy(Reason, en="the latest evidence is for another version of the policy", de="der letzte Nachweis gilt einer anderen Fassung der Richtlinie"):  # fmt: skip
    """The evidence is for another policy."""


class OtherFile(
    Reason,
    en="the file is not the one that the latest evidence names: it has changed since",
    de="die Datei ist nicht die, die der letzte Nachweis nennt: sie wurde seither geändert",
):
    """The evidence is for another file."""


class ProvenByPlan(Reason, en="plan {plan}", de="Plan {plan}"):
    """Signed evidence names the plan."""

    plan: str


class NeverChecked(Reason, en="connection {connection} was never checked: {remedy}", de="Verbindung {connection} wurde nie geprüft: {remedy}"):  # fmt: skip
    """A connection's encryption was never checked."""

    connection: str
    remedy: str


class CheckFailedOn(Reason, en="connection {connection} did not pass on {day}: {checks}", de="Verbindung {connection} bestand am {day} nicht: {checks}"):  # fmt: skip
    """A connection is not encrypted as it should be."""

    connection: str
    day: str
    checks: tuple[str, ...]


class SettingsOnly(
    Reason,
    en="connection {connection}: only its settings were checked, not its server: {remedy}",
    de="Verbindung {connection}: nur ihre Einstellungen wurden geprüft, nicht ihr Server: {remedy}",
):
    """A connection's server was not checked."""

    connection: str
    remedy: str


class CheckedLongAgo(Reason, en="connection {connection} was last checked on {day}: {remedy}", de="Verbindung {connection} wurde zuletzt am {day} geprüft: {remedy}"):  # fmt: skip
    """A check is too old."""

    connection: str
    day: str
    remedy: str


class ConnectionsChecked(Reason, en="checked: {connections}", de="geprüft: {connections}"):
    """All connections were checked."""

    connections: tuple[str, ...]


class NoConnection(Reason, en="reached by no connection", de="über keine Verbindung erreicht"):
    """No connection leads there."""


class NotChecked(
    Reason, en="could not be checked: {error}", de="konnte nicht geprüft werden: {error}"
):
    """The check failed; for an unexpected error only the type is reported."""

    error: str
