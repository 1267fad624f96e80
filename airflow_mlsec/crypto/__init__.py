"""Key ring on disk, age v1 files, signatures over statements and models.

`_ring` keeps named, versioned keys wrapped by a root key, `_ring_file` reads their files, `_ring_store` says where a ring is kept, `key_services` keep
the root key elsewhere, one file each, and are recipients too (`_service_stanza`); `_bech32`, `_header`, `_payload` and
`_age` are the age v1 format (`_armor` as ASCII, `_reader` in parts, `_folder` of whole folders, `_temporary` for as long as a task needs it), `_x25519`, `_hybrid`, `_scrypt` and `_plugin` its recipient types; `_columns` encrypts columns of Parquet; `_signatures` are the kinds of signing keys,
`_statement` signs and verifies in-toto statements in DSSE envelopes, `_model_signature` whole models, `_keyless` without a key (Sigstore). May import `policy`, `errors`, `settings` and `files`. Start with `_ring.KeyRing`.
"""

from airflow_mlsec.crypto._age import (
    RingKeys,
    Unwraps,
    Wraps,
    decrypt,
    decrypt_file,
    encrypt,
    encrypt_file,
    identity_of,
    parse_recipient,
    read_identities,
    rewrap,
    rewrap_file,
    ring_key,
)
from airflow_mlsec.crypto._archive import UNPACK_LIMITS, FolderEntry, UnpackLimits
from airflow_mlsec.crypto._columns import (
    is_encrypted,
    keys_by_category,
    read_encrypted,
    write_encrypted,
)
from airflow_mlsec.crypto._digesting import Digesting, digest_stream
from airflow_mlsec.crypto._folder import (
    compressed,
    decrypt_folder,
    encrypt_folder,
    folder_entries,
    packed,
    unpacked,
)
from airflow_mlsec.crypto._hybrid import HybridIdentity, HybridRecipient
from airflow_mlsec.crypto._keyless import KeylessSigner, sign_keyless, trusted_signers
from airflow_mlsec.crypto._model_signature import SUFFIX as MODEL_SIGNATURE
from airflow_mlsec.crypto._model_signature import model_statement, sign_model, verify_model
from airflow_mlsec.crypto._plugin import PluginIdentity, PluginRecipient
from airflow_mlsec.crypto._reader import open_decrypted
from airflow_mlsec.crypto._ring import Key, KeyRing, Recorder, verification_keys_of
from airflow_mlsec.crypto._ring_file import (
    KeyEntry,
    KeyKind,
    KeyState,
    mounted_root,
    opened_root,
    parse_root,
    wrapped_root,
)
from airflow_mlsec.crypto._ring_store import FolderStore, RingStore
from airflow_mlsec.crypto._scrypt import Passphrase
from airflow_mlsec.crypto._service_stanza import ServiceKey
from airflow_mlsec.crypto._signatures import (
    SIGNING_KINDS,
    PublicKey,
    Trusted,
    VerificationKeys,
    public_half,
)
from airflow_mlsec.crypto._statement import (
    SIGNATURE,
    STATEMENT,
    STATEMENT_TYPE,
    digest_file,
    make_statement,
    parse_signature,
    sign_payload,
    signed_name,
    verify_payload,
    verify_statement,
)
from airflow_mlsec.crypto._temporary import DecryptedArtifact
from airflow_mlsec.crypto._x25519 import Identity, Recipient

__all__ = [
    "MODEL_SIGNATURE",
    "SIGNATURE",
    "SIGNING_KINDS",
    "STATEMENT",
    "STATEMENT_TYPE",
    "UNPACK_LIMITS",
    "DecryptedArtifact",
    "Digesting",
    "FolderEntry",
    "FolderStore",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Key",
    "KeyEntry",
    "KeyKind",
    "KeyRing",
    "KeyState",
    "KeylessSigner",
    "Passphrase",
    "PluginIdentity",
    "PluginRecipient",
    "PublicKey",
    "Recipient",
    "Recorder",
    "RingKeys",
    "RingStore",
    "ServiceKey",
    "Trusted",
    "UnpackLimits",
    "Unwraps",
    "VerificationKeys",
    "Wraps",
    "compressed",
    "decrypt",
    "decrypt_file",
    "decrypt_folder",
    "digest_file",
    "digest_stream",
    "encrypt",
    "encrypt_file",
    "encrypt_folder",
    "folder_entries",
    "identity_of",
    "is_encrypted",
    "keys_by_category",
    "make_statement",
    "model_statement",
    "mounted_root",
    "open_decrypted",
    "opened_root",
    "packed",
    "parse_recipient",
    "parse_root",
    "parse_signature",
    "public_half",
    "read_encrypted",
    "read_identities",
    "rewrap",
    "rewrap_file",
    "ring_key",
    "sign_keyless",
    "sign_model",
    "sign_payload",
    "signed_name",
    "trusted_signers",
    "unpacked",
    "verification_keys_of",
    "verify_model",
    "verify_payload",
    "verify_statement",
    "wrapped_root",
    "write_encrypted",
]
