"""Names of columns, in the languages of most tables that we encounter (English, German, French, Spanish,
Italian, Portuguese, Dutch)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Abbreviations that are common in databases.
_SHORT = {
    "dt": "date", "dte": "date", "cd": "code", "nbr": "number", "nmbr": "number", "gndr": "gender", "gen": "gender",
    "pcd": "postcode", "pstcd": "postcode", "adm": "admission", "admsn": "admission", "disch": "discharge",
    "dsch": "discharge", "dx": "diagnosis", "diag": "diagnosis", "dgns": "diagnosis", "proc": "procedure",
    "rx": "prescription", "ethn": "ethnicity", "perf": "performance", "desc": "description", "descr": "description",
    "cntry": "country", "ctry": "country", "natl": "nationality", "nat": "nationality", "lang": "language",
    "subs": "subscriber", "acct": "account", "sal": "salary", "occ": "occupation", "edu": "education",
    "curr": "currency", "ccy": "currency", "emerg": "emergency", "st": "street", "soc": "social", "sec": "security",
    "mob": "mobile", "cust": "customer", "emp": "employee", "empl": "employee", "pers": "person", "pt": "patient",
    "pat": "patient", "mbr": "member", "stud": "student", "brth": "birth", "mstat": "marital status",
    "marstat": "marital status", "relig": "religion", "amt": "amount", "stmt": "statement", "addr": "address",
    "lat": "latitude", "lng": "longitude", "lon": "longitude", "reg": "registration", "veh": "vehicle",
    "lic": "licence", "nm": "name", "pax": "passenger", "ppt": "passport", "dep": "departure", "arr": "arrival",
    "orig": "origin", "dest": "destination", "prov": "province", "pkt": "punkte", "gebdat": "date of birth", "meds": "medication", "med": "medication", "hosp": "hospital", "dept": "department",
}  # fmt: skip

# Patterns of whole words for each kind, in a normalized name: lower case, no accents, words separated
# by single spaces. The first kind that matches counts.
_RULES: tuple[tuple[str, str], ...] = (
    # A digest of an identifier is an identifier.
    ("person id", r"\b(e ?mail|phone|user|customer|client|person|name|msisdn|tel) ?(hash(ed)?|sha ?[0-9]*|md5|digest)\b|\b(hash(ed)?|sha ?[0-9]*|md5) (e ?mail|phone|user|customer|client)\b"),
    # Names that look like personal data because of one word, but are not.
    ("other", r"(e ?mail|phone|sms|mobile|address|name|card|account|iban|tax|identity|kyc|id)s? (is )?(verified|confirmed|valid|flag|opt ?(in|out)|consent|bounced|status|domain|count|provider|sent|opened|clicked|enabled|blocked|changed|updated at|created at)$"),
    ("other", r"^(is|has|was|can|did|n|num|number of|count|total|avg|mean|min|max|sum|pct|percent) (?!.*(child|kid|depend|house))"),
    ("other", r"\b(file|table|host|server|product|item|article|artikel|produkt|producto|produit|prodotto|produto|brand|marke|model|event|campaign|kampagne|page|app|application|plan|store|shop|filiale|branch|category|kategorie|categorie|categoria|column|field|template|channel|queue|team|group|project|course|class|kurs|fach|subject|metric|sensor|station|pipeline|job run|build|merchant|vendor|supplier|lieferant|fournisseur|warehouse|carrier|segment|feature|label|tag|drug class|test|plant|machine|maschine|role|rule|policy|package|process|service|display|event)s? ?(name|nome|nombre|nom|naam|bezeichnung|title|titel|address|adresse|id|nr|number|code|key|type|version|age|language|country|city|region|zone|description|beschreibung|status|sku|group)s?$"),
    ("other", r"\b(age|days|months|years|tenure|duration) (of|in|since) (account|days|months|years|device|machine|asset|policy|customer|membership)|\b(account|device|machine|asset|building|vehicle|car) age\b|\bage (days|of account)|\bcache age\b"),
    ("other", r"\b(country|land|pays|pais|region) of (origin|manufacture|production)|\b(origin|manufacturing|shipping|warehouse) (country|region)\b|\bherkunftsland\b"),
    ("other", r"\b(user agent|browser|os|platform|ip version|card (type|brand|network|scheme)|payment (method|type|status)|zahlungsart|phone (model|brand|type|os)|email (type|subject|template)|address type|name of file|currency|waehrung|wahrung|devise|moneda|valuta)\b"),
    ("other", r"\b(file|filename|fichier|datei|archivo|arquivo|bestand|path|version|firmware|sequence|seq|locale|url of|csat|nps)\b"),
    ("other", r"\b(count|anzahl|aantal|quantity|qty|menge)$"),
    ("other", r"^(order|invoice|reference|tracking|transaction|shipment|batch|lot|receipt|bestell|auftrags?|rechnungs?|commande|facture|pedido|factura|ordine|fattura|fatura|bestelling|payment|booking|request|message|event|job|run|purchase|delivery|parcel|trace|span|correlation) ?(no|nr|number|nummer|id|ref|reference|code|uuid|key|numero)$"),
    ("other", r"\b(nombre|nome|nom|naam|titulo|titre|titolo|tipo|type|typ|soort|estado|stato|statut|etat|pais|paese|pays|descripcion|descricao|descrizione|codigo|codice|marca) (de la |de l |del |della |delle |do |da |de |du |di |d )?(producto|produto|produit|prodotto|articulo|artigo|articolo|article|promocao|promocion|promozione|pedido|commande|ordine|envio|envoi|pago|paiement|pagamento|tarjeta|cartao|carta|carte|origen|origem|origine|tienda|loja|magasin|negozio|categoria|moneda|moeda|archivo|arquivo|fichier|campana|campanha|equipo|proyecto|curso|libro|livre|livro|film|evento|oferta|plan|servicio|servico|vehiculo|abono)s?\b"),
    ("other", r"\b(hash|checksum|md5|sha1|sha256|etag|signature)\b"),
    # Identifying: who somebody is.
    ("password", r"\b(password|passwd|pwd|passwort|kennwort|mot de passe|contrasena|senha|secret|pin|token|api key)\b"),
    ("email", r"\b(e ?mail|mail|courriel|correo|mailadresse|emailadresse|e mail adresse|correo electronico|posta elettronica)s?( addr(ess)?| adresse| id)?\b"),
    ("fax", r"\b(fax|telefax)\b"),
    ("phone", r"\b(phone|telephone|telefon|telefono|telefone|telefoon|tel|mobile|mobil|mobiltelefon|handy|handynummer|cell(?! (id|latitude|longitude|tower|site|size))|cellphone|celular|movil|portable|cellulare|gsm|msisdn|rufnummer|telefonnummer|telnr|whatsapp|caller|callee|calling|called)( no| nr| num(ber|mer|ero)?| phone| number)?\b"),
    ("national id", r"\b(ssn|ni (number|no)|national insurance( (number|no))?|ine|social security|sozialversicherung\w*|svnr|sv nummer|national (id|identifier|identity)|government id|nin|nino|nhs( no| number)?|nir|insee|numero (de )?securite sociale|secu|dni|nie|nif|cif|curp|rfc|codice fiscale|codfisc|cod fiscale|cf|cpf|bsn|burgerservicenummer|pesel|personnummer|aadhaar|pan|steuer ?(id|nummer|nr)|steueridentifikationsnummer|tax ?(id|number|payer id)|tin|itin|ein|idnr|personalausweis\w*|ausweis\w*|identity card|id card|id number|rg|documento|cedula|cni|sin|tfn)\b"),
    ("passport", r"\b(passport|reisepass|pass ?nr|passeport|pasaporte|passaporto|passnummer)( no| nr| num(ber|mer|ero)?)?\b"),
    ("driving licence", r"\b(driv(er|ing|ers)s? ?licen[cs]e|fuehrerschein\w*|fuhrerschein\w*|permis( de conduire)?|licencia de conducir|patente|cnh|rijbewijs|dl (no|number))\b"),
    ("vehicle", r"\b(vehicle (registration|plate)( (number|no))?|(car|vrm|registration) (plate|mark)|licen[cs]e plate|number plate|plate( no| number)?|kennzeichen|kfz ?kennzeichen|immatriculation|matricula|targa|placa|kenteken|vin|fahrgestellnummer|registration plate)\b"),
    ("payment card", r"\b(credit ?card|debit ?card|card ?(no|nr|num|number|pan)|cc ?(num|number|no)?|kreditkarte\w*|karten ?(nr|nummer)|carte (bancaire|de credit)|tarjeta|carta di credito|cartao|pan number|kaartnummer)\b"),
    ("bank account", r"\b(iban|bank ?(account|acct)|account ?(no|nr|num|number)|acct ?(no|num)?|kontonummer|konto ?nr|konto|kto|bic|swift|routing( number)?|sort code|numero de compte|compte|rib|cuenta|conto corrente|conta|rekening(nummer)?|controparte|contropartita|(counterparty|beneficiary|sender|receiver|payee|payer) (account|iban))\b"),
    ("insurance id", r"\b(insurance (id|no|number)|member id|beneficiary( id)?|policy ?(holder )?(no|number)|versicher(ten|ungs) ?(nr|nummer)|versichertennummer|kvnr|kv nummer|tessera (sanitaria|san)|num tessera\w*|krankenversicherungsnummer|nhi number|policennummer|police (no|numero)|medicare|medicaid|poliza|polizza)\b"),
    ("record id", r"\b(mrn|medical record|patient ?(id|no|nr|num|number|uuid|key)|patienten ?(id|nr|nummer)|pat id|encounter( id)?|fallnummer|fall ?nr|admission id|case ?(id|number)|krankenakte|dossier|sample id|subject ?(id|no|number)|participant( id)?|proband\w*|accession( no| number)?|nss|visit id|claim ?(id|no|number)|schadennummer|specimen id)\b"),
    ("user name", r"\b(user ?name|login( name)?|screen ?name|nick ?name|handle|benutzer(name)?|nutzername|utilisateur|usuario|nome utente|utente|twitter|instagram|username|account name|skype|gamertag|pseudo)\b"),
    ("ip address", r"\b(ip|ipv4|ipv6|ip ?addr(ess)?|ip adresse|client ip|remote addr|remote ip|src ip|source ip|visitor ip)\b"),
    ("cookie", r"\b(cookie( id)?|session ?(id|key)?|visitor ?id|ga client id|client ?id cookie|tracking id|gclid|fbclid|anonymous id)\b"),
    ("device id", r"\b(device ?(id|uuid|identifier|serial)( (number|no))?|imei|imsi|iccid|mac( ?addr(ess)?)?|idfa|gaid|aaid|advertising id|android id|udid|serial ?(no|number) of device|hardware id)\b"),
    ("personal page", r"\b(homepage|linked ?in|facebook|profile ?(url|link|page)|personal (site|page|website)|website|blog)\b"),
    ("photograph", r"\b(photo|picture|avatar|selfie|portrait|foto|profile image|face image|image of person)\b"),
    ("biometrics", r"\b(fingerprint|retina|iris scan|face (embedding|vector)|voice ?print|biometric\w*)\b"),
    ("first name", r"\b(first ?name|fname|given ?name|forename|vorname|rufname|prenom|nombre( de pila)?|primer nombre|nome proprio|primeiro nome|voornaam|roepnaam|nome|middle ?(name|initial)|mname)\b"),
    ("last name", r"\b(last ?name|lname|sur ?name|family ?name|nachname|familienname|nom( de famille)?|apellidos?( [12])?|primer apellido|segundo apellido|cognome|sobrenome|achternaam|familienaam|maiden ?name|geburtsname|mothers? (maiden )?name)\b"),
    ("street", r"\b(street|addr(ess)?( ?(line)? ?[0-9])?|strasse|str|anschrift|adresse|rue|direccion|calle|domicilio|indirizzo|via|endereco|rua|logradouro|domicile|wohnadresse|adres|straat|hausnummer|hausnr|house ?(no|number)|numero civico|po box|postfach|(home|billing|shipping|delivery|mailing|residential|pickup|dropoff) addr(ess)?)\b"),
    # Quasi-identifying: what an outsider may know.
    ("date of birth", r"\b(dob|birth ?(date|day|year|month)|bdate|date of birth|born( on)?|geburts ?(datum|tag|jahr)|geb ?datum|geb|date (de )?naissance|naissance|fecha (de )?nacimiento|nacimiento|fec nac|data (di )?nascita|nascita|data (de )?nascimento|nascimento|geboorte ?(datum|jaar)|yob|year of birth|anno nascita|ano nascimento|birth)\b"),
    ("age", r"^(age|alter|edad|eta|idade|leeftijd|lebensalter)$|\b(patient|customer|client|driver|employee|passenger|insured|respondent|subject) age\b|\bage (at|in years|years|yrs|group|band|range|bracket|bucket)\b|\bage$|\b(altersgruppe|edad|leeftijd|idade|tranche (d )?age|faixa etaria|fascia (di )?eta|grupo (de )?edad|rango (de )?edad|leeftijdsgroep|altersklasse)\b"),
    ("sex", r"\b(sex|sexe|sexo|sesso|gender|geschlecht|genre|genero|genere|geslacht|anrede|salutation|civilite|male|female|fem|woman|women)\b"),
    ("postal code", r"\b(zip|zip ?code|postal ?code|post ?code|postcode|postleitzahl|plz|pc6|pc4|code postal|cp|codigo postal|cod ?postal|c postal|cap|cep|pin ?code|zip5|zip3)\b"),
    ("nationality", r"\b(nationalit(y|aet|at|e)|citizenship|staatsangehoerigkeit|staatsangehorigkeit|staatsbuergerschaft|staatsang\w*|nacionalidad|nazionalita|nacionalidade|nationaliteit|country of birth|geburtsland|birth ?(country|place)|geburtsort|place of birth|herkomst|herkunft|origine|lieu (de )?naissance|lugar nacimiento|luogo (di )?nascita|comune nascita)\b"),
    ("city", r"\b(comune (di )?residenza|residenza|city|town|village|ort|stadt|wohnort|ville|commune|ciudad|poblacion|localidad|bairro|barrio|quartier|quartiere|stadtteil|wijk|municipio|citta|comune|cidade|municipality|stad|plaats|woonplaats|gemeinde|suburb)\b"),
    ("region", r"\b(state|province|county|region|bundesland|kreis|landkreis|canton|kanton|departement|provincia|estado|regione|uf|provincie|prefecture|district|neighbou?rhood|msa|borough|census tract|area code|comunidad autonoma)\b"),
    ("country", r"\b(country|country ?code|land|laendercode|pays|pais|paese|nation|land code|residence)\b"),
    ("ethnicity", r"\b(race|ethnic\w*|ethnie|etnia|raza|raca|rasse|hisp|hispanic|black|white|non ?white|asian|latin[oa]|minority|skin colou?r|tribe|caste)\b"),
    ("marital status", r"\b(marital( status)?|marriage|married|familienstand|etat civil|situation familiale|estado civil|stato civile|civil status|burgerlijke staat|relationship( status)?|spouse|marr|divorced|widow(ed|er)?|unmarried|ever married)\b"),
    ("language", r"\b(language|sprache|langue|idioma|lingua|taal|native language|mother tongue|muttersprache|locale)\b"),
    ("education", r"\b(classe|klasse|jahrgangsstufe|school year|grade level|education|schooling|bildung\w*|schulabschluss|abschluss|diplome|niveau (d )?etudes?|educacion|estudios|istruzione|titolo di studio|escolaridade|opleiding|degree|qualification|school(ing)? years|highest grade|educ|no ?degree|drop ?out|college|study level)\b"),
    ("occupation", r"\b(occupation|profession|job( title| role| function)?|beruf|taetigkeit|metier|profesion|ocupacion|puesto|cargo|professione|mansione|profissao|beroep|functie|position|work ?class|employment( status| type)?|industry|dienstgrad|rank|department|abteilung|dept|service affectation|reparto|afdeling|departamento|job level)\b"),
    ("employer", r"\b(employer|company( name)?|firma|arbeitgeber|entreprise|employeur|empresa|azienda|societa|datore di lavoro|bedrijf|werkgever|organi[sz]ation|school( name)?|schule|university|hospital|workplace|standort)\b"),
    ("household", r"\b(household( size)?|haushalt\w*|children|kinder\w*|kids|dependents|enfants|hijos|figli|filhos|family size|number of children|n children|num children|home ?owner\w*|housing|own or rent)\b"),
    ("body measure", r"\b(height|weight|koerpergroesse|groesse|gewicht|taille|poids|altura|estatura|peso|eye colou?r|hair colou?r|shoe size)\b"),
    ("precise location", r"\b(gps|geolocation|geo ?point|coordinates|geom|wkt|home location)\b"),
    ("location", r"\b(lat|latitude|lon|lng|long|longitude|breitengrad|laengengrad|latitud|longitud|latitudine|longitudine)\b"),
    # Sensitive: what nobody would want disclosed.
    ("genetics", r"\b(genom\w*|genotype|dna|snp|allele|brca\w*|apoe)\b"),
    ("health", r"\b(diagnos\w*|icd( ?(9|10|code))*|disease|illness|condition|krankheit\w*|befund|maladie|enfermedad|malattia|doenca|ziekte|symptom\w*|medication|medicatie|medicatio|atc|codice atc|posologia|patologia|esenzione\w*|ricetta|prescri\w*|ferritin\w*|systol\w*|diastol\w*|syst|diast|haertefall\w*|drug|medikament\w*|medikation|medicament\w*|medicina\w*|farmaco|prescription|rezept|treatment|behandlung|therap\w*|traitement|tratamiento|procedure|operation code|cpt( code)?|drg|allerg\w*|blood ?(type|group|pressure|sugar)|blutgruppe|blutdruck|groupe sanguin|grupo sanguineo|gruppo sanguigno|glucose|hba1c|cholesterol|ldl|hdl|creatinine|h(a)?emoglobin|lab (result|value)|test result|result value|laborwert|messwert|ergebnis|hiv|cancer|tumou?r|diabet\w*|asthma|smok\w*|raucher|alcohol\w*|bmi|body mass\w*|disabilit\w*|behinderung|handicap|schwerbehind\w*|pregnan\w*|mental|depress\w*|anxiety|suicid\w*|surg\w*|sbp|dbp|heart ?rate|pulse|bp|vaccin\w*|impf\w*|death|died|mortality|deceased|comorbid\w*|severity|injur\w*|sick ?(days|leave)|krankentage|krankheitstage|triage|outcome|readmi\w*|analyte|hr|spo2|temperature patient|hb|hgb|wbc|rbc|plt|crea|egfr|ggt|gpt|got|tsh|crp|inr|psa|urea|harnstoff|kreatinin|bilirubin|triglycerid\w*|hematocrit|haematocrit|hct|leuko\w*|thrombo\w*|erythro\w*|hamoglobin|haemoglobin|glukose|cholesterin\w*|\w*befund\w*|blutbild|sangre|sangue|sang|abnormal|finding|lab|labor\w*|esito|referto|analyse|analisis|exame|uitslag|score (pain|apgar)|pain|apgar|nyha|gcs|ecog|stage|tnm|biopsy|wellbeing|life satisfaction|lebenszufriedenheit|happiness|loneliness|stress|sleep|phq ?9|gad ?7)\b"),
    ("income", r"\b(steuerklasse|tax (class|bracket)|kirchensteuer\w*|lohn\w*|gehalts\w*|bruttolohn|nettolohn|grundgehalt|pfandung|pfaendung|garnishment|sozialversicherungsbeitrag|zulage|pramie|praemie|overtime pay|base pay|total comp|retribuzione|ral|nomina|irpf|bruto|liquido|vencimento|maandloon|income|salar\w*|wage|earnings|pay( rate| grade)?|gross pay|net pay|compensation|bonus|gehalt|lohn|einkommen|verdienst|brutto\w*|netto\w*|salaire|revenus?|remuneration|salario|sueldo|ingresos|stipendio|reddito|renda|salaris|loon|inkomen|credit ?(score|rating|limit)|(score|punteggio|scoring|pontuacao|puntuacion) (de )?(credito|credit)|segnalazione crif|moroso|inadimplen\w*|impay\w*|\w*betrag|auszahlung\w*|schufa|fico|debt|schulden|balance|saldo|solde|kontostand|net ?worth|wealth|vermoegen|capital|loan( amount)?|kredit\w*|mortgage|default(ed)?|ccj\w*|scholarship|boursier|bolsista|becario|stipend|benefits?|arrears|overdraft|bankrupt\w*|risk score|claim amount|claimed amount|schadenhoehe|payout|pension|deductions?|hourly rate|transaction amount|betrag|importe|montant|importo)\b"),
    ("religion", r"\b(religio\w*|konfession|kirche\w*|faith|church|credo|culto|kirchensteuer)\b"),
    ("politics", r"\b(politic\w*|party( affiliation)?|vote[ds]?|voter|partei|parti|partido|partito|wahl\w*|ideolog\w*|left right|abortion|immigration (view|opinion|attitude)|trust in (government|parliament|police))\b"),
    ("sexual orientation", r"\b(sexual( orientation| preference)?|orientation|sexuelle\w*|orientacion sexual|lgbt\w*)\b"),
    ("criminal record", r"\b(fraud\w*|betrug\w*|licence points|penalty points|sanctions?|disciplinary|criminal\w*|convict\w*|offen[cs]e|arrest\w*|felony|vorstrafe\w*|straf\w*|casier|antecedentes|recidivis\w*|crime|violation|prior count|priors count)\b"),
    ("grade", r"\b(grade|grades|gpa|note|noten|punkte|marks?|(exam|test|final|math\w*|reading|writing|performance|appraisal) (score|rating|result|mark|points)|moyenne( generale)?|moy( generale)?|appreciation|media voti|durchschnitts?note|nota|notas|voto|cijfer|calificacion|test score|performance( rating| score| review)?|rating of employee|beurteilung|disciplin\w*|attendance|fehltage)\b"),
    ("union", r"\b(union( member(ship)?)?|gewerkschaft\w*|syndicat|sindicato|sindacato)\b"),
    # The rest: texts, persons' ids and dates, by their usual names.
    ("free text", r"\b(notes?|notizen?|comment(s|aire|aires)?|kommentar\w*|bemerkung\w*|remark\w*|description|beschreibung|message|nachricht|body|feedback|review( text)?|comentarios?|osservazioni|commento|observaciones|opmerking(en)?|narrative|anamnes\w*|free ?text|freitext|transcript|ticket text|reason text|anliegen|complaint)\b"),
    ("full name", r"\b(emergency contact|next of kin|policy ?holder|card ?holder|account ?holder|representant legal|resp(onsable)? legal|legal guardian|tuteur|tutor legal|erziehungsberechtigte[rn]?|ansprechpartner|versicherungsnehmer|contraente|intestatario|titular|titulaire)$|^(name|full ?name|nombre completo|nome completo|nom complet|naam|person|contact|contact ?name|customer|kunde|kundenname|client|cliente|patient|patientenname|employee|mitarbeiter|passenger|rider|driver|student|schueler|doctor|physician|arzt|hausarzt|huisarts|medico( \w+)?|medecin( \w+)?|pax|traveller|teacher|lehrer|author|owner|agent|recipient|sender|payee|beneficiary|card ?holder|account ?holder|guest|player|nominativo)$|\b(full ?name|(customer|client|kunden?|patient|employee|mitarbeiter|contact|person|holder|guest|student|member|applicant|owner|sender|recipient|receiver|beneficiary|counterparty|doctor|physician|agent|rider|driver|passenger|emergency contact|insured|candidate|teacher|parent|guardian|buyer|seller|cardholder|account holder|policy holder|ship to|bill to|display) ?name|name of (the )?(customer|patient|employee|person)|ragione sociale|nome e cognome|nom prenom|nom et prenom|name vorname|vor und nachname)\b"),
    ("person id", r"\b(customer|client|cust|kunden?|cliente|usuario|user|nutzer|person|personal|member|mitglied\w*|employee|emp|mitarbeiter|matricule|matricola|student|schueler|matrikel|alumno|account|subscriber|contact|lead|passenger|rider|driver|applicant|applicante|donor|patient|pax|socio|klant|medewerker|empleado|funcionario|profile|visitor|player|voter|respondent|caller|guest|loyalty|loyalty card|kundenkarte|member card|bonus card|card|uid|voucher holder|prof) ?(id|no|nr|num(ber|mer|ero)?|key|code|uuid|guid|ref|sk)\b|^(uid|user|guid|kundennummer|kundennr|personalnummer|personalnr|matrikelnummer|mitgliedsnummer|matricola|matricule|legajo|(cod|codigo|codice|code|num|numero|nr|n) (de |del |di )?(cliente?|client|socio|utente|usuario|usager|alumno|aluno|paciente|paziente|patient|empleado|funcionario|dipendente|adherent|abonne|lecteur|membre)|num cartao fid\w*|carta fedelta|carte (de )?fidelite|tarjeta (de )?(socio|fidelidad)|einsender\w*|numero (de )?client|num client|codice cliente|codigo cliente|id (cliente|client|utilisateur|usuario|utente|paciente|paziente|kunde|persona|empleado|aluno|alumno|klant))$"),
    ("date of an event", r"\b(entnahme\w*|admission|admit(ted)?|discharge|aufnahme\w*|entlass\w*|hire[d]?|hiring|term|einstellung\w*|eintritt\w*|entry|austritt\w*|termination|terminated|visit|besuch\w*|appointment|termin|wedding|marriage|death|decease|sterbe\w*|surgery|procedure|enrol?lment|immatrikulation|join(ed)?|start(ed)? work|collection|incident|accident|schaden\w*|unfall\w*|contratacion|assunzione|admissao|ingreso|alta|sortie|entree|embauche|opname|ontslag|indienst\w*|service|pickup|dropoff|trip|travel|arrival|departure|loss|claim|exam|donatie|donation|vendita|verkauf|departure|arrival|flight|check in|checkin|loan|birth registration) ?(date|datum|day|time|tag|ts|at|on|fecha|data|start|end)\b|\b(call|ride) (start|end|date|time)( time)?\b|\b(date|datum|fecha|data|dt) ?(of|de|di|der|d|du)? ?(admission|discharge|hire|visit|death|ingreso|alta|entree|sortie|embauche|assunzione|ricovero|dimissione|contratacion|admissao|loss|service|incident)\b|^(admitted|discharged|hired|aufnahmedatum|entlassungsdatum|eintrittsdatum|einstellungsdatum|admission|discharge)( (at|on))?$"),
)  # fmt: skip


def kind_by_name(name: str) -> str | None:
    """The kind that a column's name indicates, or None."""
    words = normalized(name)
    for kind, pattern in _compiled():
        if pattern.search(words):
            return kind
    return None


def normalized(name: str) -> str:
    """A name in lower case, without accents, its words separated by single spaces."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    spelled = spaced.replace("ß", "ss").replace("ä", "ae").replace("ö", "oe").replace("ü", "ue")
    plain = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", " ", plain.lower()).split()
    return " ".join(_SHORT.get(word, word) for word in words)


@lru_cache(maxsize=1)
def _compiled() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind, re.compile(pattern)) for kind, pattern in _RULES)
