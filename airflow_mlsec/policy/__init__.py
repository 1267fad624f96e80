"""Dataset policies: what each column is, whose it is, and what must happen to it.

One YAML file per dataset. `_schema` contains the models (`_hierarchies` and `_privacy` parts of
them), `_transform` the interface of a transform, and `_registry` the installed transforms.
`_positions` reads YAML with the position of each key, `_retention` computes how long records are
kept, `_loosening` says what a change of a policy loosens,
`_pattern` interprets a `dataset` that covers several, `_organization` is who we are, and `_load` turns a file
or folder into policies, with errors that carry file:line:column. May import `errors` and `settings` only. Start
with `_schema.Policy`.
"""

from airflow_mlsec.policy._hierarchies import (
    AutomaticHierarchy,
    DateHierarchy,
    FileHierarchy,
    Hierarchy,
    IntervalHierarchy,
    PrefixHierarchy,
    SuppressHierarchy,
)
from airflow_mlsec.policy._load import (
    APPLICABILITY,
    ASSESSMENTS,
    CONTROLS,
    Catalog,
    files_beside,
    line_of,
    load_beside,
    load_organization,
    load_policy,
    parse_policy,
    policy_json_schema,
)
from airflow_mlsec.policy._loosening import EVERYTHING, loosened, read_canonical
from airflow_mlsec.policy._model import Model
from airflow_mlsec.policy._organization import (
    EEA,
    ORGANIZATION,
    Authority,
    Contact,
    Controller,
    Missing,
    Organization,
    Party,
    Person,
    Service,
    Team,
)
from airflow_mlsec.policy._pattern import is_pattern, is_template, matches, require_one
from airflow_mlsec.policy._privacy import (
    Closeness,
    Diversity,
    Likeness,
    PopulationUniqueness,
    Privacy,
)
from airflow_mlsec.policy._registry import transform_names, transform_of, transforms
from airflow_mlsec.policy._retention import keep_from
from airflow_mlsec.policy._role import Role
from airflow_mlsec.policy._schema import (
    NOBODY,
    Access,
    Anonymity,
    AutomatedDecisions,
    Column,
    Erasure,
    LawfulBasis,
    Localized,
    Origin,
    Policy,
    Recipient,
    Reference,
    Retention,
    Subject,
)
from airflow_mlsec.policy._special import is_special, may_be_special
from airflow_mlsec.policy._transform import DOMAIN, Given, Leaves, TokenVault, Transform

__all__ = [
    "APPLICABILITY",
    "ASSESSMENTS",
    "CONTROLS",
    "DOMAIN",
    "EEA",
    "EVERYTHING",
    "NOBODY",
    "ORGANIZATION",
    "Access",
    "Anonymity",
    "Authority",
    "AutomatedDecisions",
    "AutomaticHierarchy",
    "Catalog",
    "Closeness",
    "Column",
    "Contact",
    "Controller",
    "DateHierarchy",
    "Diversity",
    "Erasure",
    "FileHierarchy",
    "Given",
    "Hierarchy",
    "IntervalHierarchy",
    "LawfulBasis",
    "Leaves",
    "Likeness",
    "Localized",
    "Missing",
    "Model",
    "Organization",
    "Origin",
    "Party",
    "Person",
    "Policy",
    "PopulationUniqueness",
    "PrefixHierarchy",
    "Privacy",
    "Recipient",
    "Reference",
    "Retention",
    "Role",
    "Service",
    "Subject",
    "SuppressHierarchy",
    "Team",
    "TokenVault",
    "Transform",
    "files_beside",
    "is_pattern",
    "is_special",
    "is_template",
    "keep_from",
    "line_of",
    "load_beside",
    "load_organization",
    "load_policy",
    "loosened",
    "matches",
    "may_be_special",
    "parse_policy",
    "policy_json_schema",
    "read_canonical",
    "require_one",
    "transform_names",
    "transform_of",
    "transforms",
]
