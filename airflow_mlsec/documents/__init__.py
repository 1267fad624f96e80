"""Documents that an authority asks for: records of processing, impact assessments, transfers, processors, retention, numbers
of requests, statements of applicability.

Each is made from what policies and the organization's file declare, what the register knows and what controls find now;
what nobody has stated is marked and counted. `_content` is what a document says, in no language; `_kind` is what a kind of
document is, and ``kinds/<kind>.py`` are those of this package, named by entry points; `_writing` writes pages and tables
in each language; `_versions` keeps versions, which people approve and a key signs. `controls` asks whether they are up to
date. May import everything but the Airflow adapters and `cli`. Start with `_kind.DocumentKind`.
"""

from airflow_mlsec.documents._content import (
    Category,
    Content,
    Country,
    Field,
    Gap,
    Line,
    Missing,
    Period,
    Section,
    Table,
    Value,
)
from airflow_mlsec.documents._kind import DocumentKind, document_kind, document_kinds
from airflow_mlsec.documents._known import Known, of_policy
from airflow_mlsec.documents._versions import (
    STATEMENT,
    Document,
    approve_document,
    document_files,
    documents,
    draft,
    export_document,
    load_document,
    make,
    verify_document,
)
from airflow_mlsec.documents._writing import Edition, files_of

__all__ = [
    "STATEMENT",
    "Category",
    "Content",
    "Country",
    "Document",
    "DocumentKind",
    "Edition",
    "Field",
    "Gap",
    "Known",
    "Line",
    "Missing",
    "Period",
    "Section",
    "Table",
    "Value",
    "approve_document",
    "document_files",
    "document_kind",
    "document_kinds",
    "documents",
    "draft",
    "export_document",
    "files_of",
    "load_document",
    "make",
    "of_policy",
    "verify_document",
]
