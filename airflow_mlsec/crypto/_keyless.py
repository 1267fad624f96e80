"""Signatures without a key of one's own (Sigstore): a certificate, valid for minutes, says who has logged in at an
OpenID provider, and a transparency log records that it was used. The verifier names the person or the workload, and
their provider, instead of a key.

Sources: https://docs.sigstore.dev and its client specification, as implemented by the `sigstore` library (extra
``sigstore``). Sigstore's public instance is trusted, or one that ``[mlsec] sigstore_trust_config`` describes.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_mlsec.crypto._signatures import Trusted, VerificationKeys
from airflow_mlsec.errors import CryptoError, SettingError, SignatureInvalid, UsageError


@dataclass(frozen=True)
class KeylessSigner:
    """A signer whose keyless signatures a verifier trusts.

    :param identity: As the certificate names it: an e-mail address, or the URI of a workload.
    :param issuer: URL of the OpenID provider that vouches for it.
    :param trust_config: File with the authorities and logs that are trusted (Sigstore's client trust config);
        None for those of the public instance, which are fetched.
    :raises UsageError: if the identity or the issuer is empty: without an issuer, any issuer would be accepted.
    """

    identity: str
    issuer: str
    trust_config: Path | None = None

    def __post_init__(self) -> None:
        if not (self.identity.strip() and self.issuer.strip()):
            raise UsageError("the signer's identity, or its OpenID issuer, is empty: give both")

    def payload_of(self, document: Any, payload_type: str, post_quantum: bool = False) -> bytes:
        """What they signed, from a Sigstore bundle with a DSSE envelope.

        :raises SignatureInvalid: if they did not sign it, or no trusted log contains it.
        :raises UsageError: if a post-quantum signature is asked for; Sigstore has none.
        :raises SettingError: if what is trusted cannot be read or fetched.
        """
        if post_quantum:
            raise UsageError("keyless signatures use ECDSA; a post-quantum one needs a key")
        _library()
        from sigstore.models import Bundle
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity

        trusted = _trust(self.trust_config).trusted_root
        try:
            bundle = Bundle.from_json(json.dumps(document))
            policy = Identity(identity=self.identity, issuer=self.issuer)
            kind, payload = Verifier(trusted_root=trusted).verify_dsse(bundle, policy)
        # Whatever the library raises for a bundle that somebody sent, the bundle is not verified. The messages
        # name the person who did sign.
        except Exception:
            raise SignatureInvalid(
                f"this is not signed by {self.identity}, of {self.issuer}, according to "
                "trusted logs"
            ) from None
        if kind != payload_type:
            raise SignatureInvalid("the envelope is of another payload type than expected")
        return bytes(payload)


def sign_keyless(statement: bytes, trust_config: Path | None, token: str | None) -> dict[str, Any]:
    """A Sigstore bundle that signs an in-toto statement.

    :param token: OpenID token; None for that of the workload (GitHub, GitLab, Google Cloud, …), or else of the
        person who logs in with a browser.
    :raises CryptoError: if nobody vouches for the signer, or a service refuses.
    :raises SettingError: if the services cannot be read or fetched.
    """
    _library()
    from sigstore.dsse import Statement
    from sigstore.oidc import IdentityToken, Issuer, detect_credential
    from sigstore.sign import SigningContext

    config = _trust(trust_config)
    try:
        found = token or detect_credential()
        if found is None:
            identity = Issuer(config.signing_config.get_oidc_url()).identity_token()
        else:
            identity = IdentityToken(found)
        with SigningContext.from_trust_config(config).signer(identity) as signer:
            bundle = signer.sign_dsse(Statement(statement))
        signed: dict[str, Any] = json.loads(bundle.to_json())
    # Clients have errors of many kinds, and some quote the token.
    except Exception as error:
        raise CryptoError(
            f"Sigstore did not sign ({type(error).__name__}); is the token valid, for the audience 'sigstore', and "
            "are its services reachable?"
        ) from None
    return signed


def _trust(path: Path | None) -> Any:
    from sigstore.models import ClientTrustConfig

    try:
        if path is None:
            return ClientTrustConfig.production()
        return ClientTrustConfig.from_json(path.read_text(encoding="utf-8"))
    except Exception as error:
        what = "what Sigstore's public instance trusts" if path is None else str(path)
        raise SettingError(
            f"{what} cannot be read ({type(error).__name__}); set [mlsec] sigstore_trust_config to a file of "
            "Sigstore's client trust configuration"
        ) from None


def _library() -> None:
    try:
        import sigstore
    except ImportError:
        raise UsageError(
            "keyless signatures need sigstore: pip install 'airflow-mlsec[sigstore]'"
        ) from None
    del sigstore
    # It logs tokens' claims and whole entries.
    logging.getLogger("sigstore").setLevel(logging.WARNING)


def trusted_signers(
    public_key: Path | None, identity: str | None, issuer: str | None, trust_config: Path | None
) -> Trusted | None:
    """The signers that a verifier is to trust: keys of a PEM file, or a keyless signer (`KeylessSigner`); None
    if neither is given.

    :raises UsageError: for both, or for a signer without the provider that vouches for them.
    """
    if identity is None and issuer is None:
        if public_key is None:
            return None
        if not public_key.is_file():
            raise UsageError(f"there is no file of public keys at {public_key}")
        return VerificationKeys.from_pem(public_key)
    if public_key is not None or identity is None or issuer is None:
        raise UsageError(
            "give a public key, or the identity of a keyless signer together with its OpenID issuer: "
            "another provider could give that name to anybody"
        )
    return KeylessSigner(identity, issuer, trust_config)
