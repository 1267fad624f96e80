"""What values look like: formats with check digits, known vocabularies, and free text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from airflow_mlsec.anonymize import is_valid_number

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}")
_PHONE = re.compile(r"\+?[0-9(][0-9 ()./-]{6,20}[0-9]")
_DATE = re.compile(
    r"(?:(?:19|20)[0-9]{2}[./-][0-9]{1,2}[./-][0-9]{1,2}|[0-9]{1,2}[./-][0-9]{1,2}[./-](?:19|20)?[0-9]{2})\b"
)
_PHONE_PLUS = re.compile(r"\+[1-9](?:[ ().-]{0,2}[0-9]){7,14}")
_NUMBERED_STREET = re.compile(
    # A word ends at a blank, so that there is only one way to match each value.
    r"[0-9]{1,5}[a-z]? [A-Z][\w.'-]+(?: [A-Z][\w.'-]+){0,3} ?(?:,? (?:Apt|Suite|Unit|Apartment)\.? ?[\w-]+)?"
)
_FIVE_DIGITS = re.compile(r"[0-9]{5}(?:-[0-9]{4})?")
_PHONE_WRITTEN = re.compile(r"\+|[0-9][ ()./-]+[0-9]")
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_HEX = re.compile(r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})", re.I)
_SSN = re.compile(r"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}")
_ICD10 = re.compile(r"[A-TV-Z][0-9][0-9AB](?:\.[0-9A-TV-Z]{1,4})?")
_POINT = re.compile(r"(?:POINT ?\()?-?[0-9]{1,3}\.[0-9]{3,},? -?[0-9]{1,3}\.[0-9]{3,}\)?")
_STREET = re.compile(
    r"(?i)^(?:[0-9]+[a-z]? .*\b(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|way|court|ct|square|sq|"
    r"place|pl|terrace|highway|hwy|parkway|close|crescent|trail|circle|loop|plaza|ridge|views?|mews|gardens?)\b.*"
    r"|.*(?:stra(?:ß|ss)e|str\.|weg|allee|platz|gasse|ring|ufer|damm|laan|straat|plein) ?[0-9]+.*"
    r"|(?:[0-9]+,? ?)?(?:rue|avenue|boulevard|chemin|place|impasse|calle|avenida|plaza|paseo|c/|via|viale|piazza|corso|"
    r"rua|travessa|largo|strada|borgo|contrada|vicolo|ronda|urbanización)\b.*)"
)
_LETTERS = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"\S+")

# National ids that have check digits; what there is too little of is decided by name alone.
_NATIONAL = (
    "it.codicefiscale", "es.dni", "es.nie", "br.cpf", "fr.nir", "de.idnr", "pl.pesel", "nl.bsn", "mx.curp",
    "tr.tckimlik", "se.personnummer", "no.fodselsnummer", "fi.hetu", "be.nn", "ro.cnp", "cn.ric", "in_.aadhaar",
    "kr.rrn", "gb.nhs", "dk.cpr", "cz.rc", "za.idnr", "ch.ssn", "at.vnr",
)  # fmt: skip


def _known(text: str) -> frozenset[str]:
    return frozenset(text.split())


VOCABULARIES = {
    "sex": _known("m f w d x u male female man woman mann frau men women maennlich weiblich männlich divers diverse "
                  "homme femme masculin feminin féminin hombre mujer masculino femenino feminino maschio femmina uomo donna "
                  "vrouw other unknown unspecified nonbinary non-binary none herr mr mrs ms h v o k unbekannt autre otro altro "
                  "prefer_not_to_say inter mx"),
    "marital status": _known("married single divorced widowed separated married-civ-spouse never-married widow widower "
                             "unmarried ledig verheiratet geschieden verwitwet getrennt partnered célibataire celibataire marié "
                             "mariée marie divorcé divorcée divorce veuf veuve pacsé soltero soltera casado casada divorciado "
                             "divorciada viudo viuda solteiro solteira viúvo viuvo celibe nubile coniugato coniugata divorziato "
                             "divorziata vedovo vedova gehuwd ongehuwd gescheiden weduwe verpartnert civil_partnership "
                             "domestic_partner married-spouse-absent married-af-spouse unione_civile"),
    "ethnicity": _known("white black asian hispanic latino latina caucasian african-american african native pacific "
                        "mixed indigenous native-american multiracial asian-pac-islander amer-indian-eskimo hispanic/latino "
                        "black_or_african_american two_or_more two_or_more_races african_american asian_american arab "
                        "native_american pacific_islander middle_eastern branca preta parda amarela indígena"),
    "religion": _known("christian catholic protestant muslim jewish hindu buddhist atheist orthodox sikh agnostic islam "
                       "evangelisch katholisch rk ev konfessionslos ohne romisch-katholisch römisch-katholisch none "
                       "christianity judaism hinduism buddhism sunni shia mormon lutheran methodist baptist cattolica "
                       "roman_catholic no_religion muslimisch jüdisch juedisch vd ak islamisch keine other"),
    "blood": _known("a+ a- b+ b- ab+ ab- o+ o- 0+ 0-"),
    "education": _known("bachelors masters doctorate hs-grad some-college bachelor master phd highschool high_school "
                        "high-school abitur realschule hauptschule bachelor's master's primary secondary tertiary "
                        "associate diploma graduate undergraduate prof-school assoc-voc assoc-acdm ged doctoral college "
                        "promotion mittlere_reife fachabitur ausbildung diplom licence bac cap bts doctorat licenciatura "
                        "bachillerato fp laurea diploma liceo media ensino_medio superior vocational postgraduate "
                        "high_school_diploma bachelor_degree master_degree bachelor's_degree master's_degree some_college"),
    "orientation": _known("heterosexual homosexual bisexual gay lesbian straight queer asexual pansexual"),
}  # fmt: skip
_US_STATES = _known(
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI "
    "SC SD TN TX UT VT VA WA WV WI WY DC PR"
)
_COUNTRIES = _known(
    "AD AE AF AG AL AM AO AR AT AU AZ BA BB BD BE BF BG BH BI BJ BN BO BR BS BT BW BY BZ CA CD CF CG CH CI CL CM CN CO CR "
    "CU CV CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FR GA GB GE GH GM GN GR GT GY HK HN HR HT HU ID IE IL IN IQ IR "
    "IS IT JM JO JP KE KG KH KR KW KZ LA LB LI LK LR LT LU LV LY MA MC MD ME MG MK ML MM MN MT MU MX MY MZ NA NE NG NI NL "
    "NO NP NZ OM PA PE PG PH PK PL PR PT PY QA RO RS RU RW SA SD SE SG SI SK SN SO SV SY TD TG TH TN TR TT TW TZ UA UG US "
    "UY UZ VE VN YE ZA ZM ZW DEU FRA GBR USA ESP ITA NLD BEL AUT CHE POL PRT SWE NOR DNK FIN IRL CAN MEX BRA ARG IND CHN "
    "JPN AUS UK"
)
_COUNTRY_NAMES = frozenset(
    [
        "germany",
        "france",
        "spain",
        "italy",
        "netherlands",
        "belgium",
        "austria",
        "switzerland",
        "poland",
        "portugal",
        "sweden",
        "norway",
        "denmark",
        "finland",
        "ireland",
        "canada",
        "mexico",
        "brazil",
        "argentina",
        "india",
        "china",
        "japan",
        "australia",
        "russia",
        "turkey",
        "greece",
        "hungary",
        "romania",
        "ukraine",
        "deutschland",
        "frankreich",
        "spanien",
        "italien",
        "niederlande",
        "belgien",
        "österreich",
        "schweiz",
        "polen",
        "portugal",
        "allemagne",
        "espagne",
        "italie",
        "españa",
        "alemania",
        "francia",
        "italia",
        "united-states",
        "england",
        "cuba",
        "jamaica",
        "philippines",
        "vietnam",
        "egypt",
        "nigeria",
        "kenya",
        "colombia",
        "chile",
        "peru",
        "israel",
        "singapore",
        "thailand",
        "indonesia",
        "pakistan",
        "bangladesh",
        "iran",
    ]
) | {
    "united states",
    "united kingdom",
    "united states of america",
    "south africa",
    "new zealand",
    "south korea",
}
_GIVEN_NAMES = _known(
    "james mary robert patricia john jennifer michael linda david elizabeth william barbara richard susan joseph jessica "
    "thomas sarah charles karen christopher lisa daniel nancy matthew betty anthony sandra mark margaret donald ashley "
    "steven kimberly andrew emily paul donna joshua michelle kenneth carol kevin amanda brian melissa george deborah "
    "timothy stephanie ronald rebecca jason laura edward helen jeffrey sharon ryan cynthia jacob kathleen gary amy nicholas "
    "angela eric shirley jonathan anna stephen brenda larry pamela justin emma scott nicole brandon benjamin samuel "
    "samantha gregory katherine alexander christine frank debra patrick rachel raymond carolyn jack janet dennis maria "
    "jerry heather tyler diane aaron julie jose olivia adam joyce nathan virginia henry victoria zachary kelly douglas "
    "peter hans klaus jürgen wolfgang stefan andreas martin uwe markus tobias florian lukas felix jonas leon finn "
    "ursula monika petra sabine renate karin helga brigitte claudia birgit andrea katharina julia lena mia hannah "
    "jean pierre michel philippe alain nicolas françois jacques marie nathalie isabelle sylvie catherine camille léa "
    "chloé manon juan antonio manuel francisco javier carlos miguel ángel josé luis carmen josefa isabel dolores pilar "
    "teresa lucía sofía giuseppe giovanni marco andrea luca francesco matteo giulia chiara sara martina alessia "
    "joão paulo pedro ana beatriz fernanda rafael gabriel jan kees pieter willem sanne lotte emma daan mohammed ali "
    "fatima ahmed omar aisha wei li ming yuki hiroshi priya raj anjali amit sofia sophie max noah liam lucas oliver "
    "elena ivan olga dmitri natalia"
)


def share(values: Sequence[str], test: Callable[[str], Any]) -> float:
    """The share of values for which a test holds."""
    return sum(bool(test(value)) for value in values) / len(values) if values else 0.0


def formats(values: Sequence[str], numbers: bool) -> Iterable[tuple[str, str, float]]:
    """(kind, what was seen, share) of distinct values, the most certain first; ``numbers`` if the column
    holds numbers rather than text."""
    yield "email", "have the form of an e-mail address", share(values, _EMAIL.fullmatch)
    yield "ip address", "are IP addresses", share(values, _is_ip)
    yield "device id", "have the form of a MAC address", share(values, _MAC.fullmatch)
    yield (
        "bank account",
        "are IBANs (check digits)",
        share(values, lambda v: len(v) > 14 and is_valid_number("iban", v)),
    )
    digits = [re.sub(r"[ -]", "", value) for value in values]
    cards = share(
        digits,
        lambda v: (
            v.isdigit() and 13 <= len(v) <= 19 and v[0] in "23456" and is_valid_number("luhn", v)
        ),
    )
    yield "payment card", "are card numbers (Luhn)", cards
    yield (
        "national id",
        "have the form of a US social security number",
        share(values, _SSN.fullmatch),
    )
    for name in _NATIONAL:
        # The first few values almost always decide.
        if share(values[:12], lambda v, name=name: is_valid_number(name, v)) > 0.8:  # type: ignore[misc]
            found = share(values, lambda v, name=name: is_valid_number(name, v))  # type: ignore[misc]
            yield "national id", f"are national ids ({name}, check digits)", found
    yield "precise location", "are pairs of coordinates", share(values, _POINT.fullmatch)
    if not numbers:
        yield "phone", "are phone numbers", share(values[:300], _is_phone)
        yield (
            "street",
            "are streets and house numbers",
            share(values, lambda v: _STREET.search(v) or _NUMBERED_STREET.fullmatch(v)),
        )
        yield "health", "have the form of ICD-10 codes", share(values, _ICD10.fullmatch)
        yield "full name", "begin with a common given name", share(values, _is_full_name)
        yield (
            "first name",
            "are common given names",
            share(values, lambda v: v.strip().lower() in _GIVEN_NAMES),
        )


def certain(values: Sequence[str]) -> tuple[str, int] | None:
    """What of a form that nothing else has is among texts, or in one of them, and in how many: a single one is one too many
    where none may be."""
    for kind, test in (
        ("email", _EMAIL.search),
        ("bank account", lambda v: len(v) > 14 and is_valid_number("iban", v)),
        ("national id", _SSN.fullmatch),
        ("device id", _MAC.fullmatch),
        ("phone", lambda v: _PHONE_PLUS.fullmatch(v.strip())),
    ):
        if found := sum(bool(test(value)) for value in values):
            return kind, found
    return None


def vocabulary(values: Sequence[str]) -> tuple[str, float] | None:
    """The vocabulary that contains most of the distinct values of a column, and their share."""
    words = [re.sub(r"[ _]+", "_", value.strip().lower()) for value in values]
    for kind, known in VOCABULARIES.items():
        limit = 8 if kind in ("sex", "blood") else 24
        if len(words) <= limit and (found := share(words, lambda w, k=known: w in k)) >= 0.75:  # type: ignore[misc]
            return kind, found
    upper = [value.strip() for value in values]
    for kind, codes in (("region", _US_STATES), ("country", _COUNTRIES)):
        if len(upper) >= 5 and (found := share(upper, lambda v, c=codes: v in c)) >= 0.9:  # type: ignore[misc]
            return kind, found
    names = share([value.strip().lower() for value in values], lambda v: v in _COUNTRY_NAMES)
    if len(values) >= 3 and names >= 0.5:
        return "country", names
    return None


def is_prose(values: Sequence[str]) -> bool:
    """Whether values are free text: several words, almost no two alike."""
    if len(values) < 10:
        return False
    words = [len(_WORD.findall(value)) for value in values]
    letters = sum(sum(map(len, _LETTERS.findall(v))) for v in values) / max(
        1, sum(map(len, values))
    )
    return sum(words) / len(words) >= 4.5 and letters > 0.6


def years(values: Sequence[str]) -> list[int]:
    """The years of values that are dates; nothing if most are not."""
    found = [re.findall(r"(?:19|20)[0-9]{2}", v)[:1] for v in values if _DATE.match(v.strip())]
    return [int(each[0]) for each in found if each] if len(found) > 0.9 * len(values) else []


def is_five_digits(values: Sequence[str]) -> bool:
    """Whether values have the form of postal codes of five digits."""
    return len(values) >= 15 and share(values, _FIVE_DIGITS.fullmatch) >= 0.97


def is_hash(values: Sequence[str]) -> bool:
    """Whether values have the form of digests."""
    return share(values, _HEX.fullmatch) >= 0.95


def is_uuid(values: Sequence[str]) -> bool:
    """Whether values are UUIDs."""
    return share(values, _UUID.fullmatch) >= 0.95


def _is_ip(value: str) -> bool:
    if "." not in value and ":" not in value:
        return False
    try:
        ipaddress.ip_address(value.strip())
    except ValueError:
        return False
    return value.count(".") == 3 or ":" in value


def _is_phone(value: str) -> bool:
    import phonenumbers

    if _DATE.match(value.strip()):
        return False
    if _PHONE_PLUS.fullmatch(value.strip()):
        return True
    if not _PHONE.fullmatch(value.strip()) or not _PHONE_WRITTEN.search(value):
        return False
    for region in (
        ("US",)
        if value.strip().startswith("+")
        else ("US", "DE", "FR", "GB", "ES", "IT", "NL", "BR")
    ):
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(value, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


def _is_full_name(value: str) -> bool:
    words = value.replace(",", " ").split()
    titled = 2 <= len(words) <= 5 and all(w[:1].isupper() or w.islower() for w in words)
    return titled and any(word.strip(".").lower() in _GIVEN_NAMES for word in words)
