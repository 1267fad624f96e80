"""AWS KMS. The key is symmetric."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qs

from airflow_mlsec.crypto.key_services._service import KeyService, is_private, refused
from airflow_mlsec.errors import CryptoError, SettingError, UsageError


class AwsKms(KeyService):
    """AWS KMS, by boto3, which signs in by environment, profile or role. The encryption context names us in CloudTrail.

    A key's own name is its ARN. What was encrypted under an alias is opened with the key that the alias stood for then, if
    it is in the same account and region: an alias may be pointed to another key, and old keys stay.
    """

    scheme, product = "aws-kms", "AWS KMS"
    address = "aws-kms://KEY_ID_OR_ARN?region=R&endpoint=https://E"

    _CONTEXT = {"application": "airflow-mlsec"}  # noqa: RUF012 - never changed

    @classmethod
    def open(cls, rest: str) -> Self:
        return cls(rest)

    def __init__(self, rest: str) -> None:
        key, _, query = rest.partition("?")
        options = {name: values[-1] for name, values in parse_qs(query).items()}
        if unknown := set(options) - {"region", "endpoint"}:
            raise UsageError(f"aws-kms has no option '{min(unknown)}'; it has region and endpoint")
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise UsageError("AWS KMS needs boto3: pip install 'airflow-mlsec[aws]'") from None
        self._failures = (BotoCoreError, ClientError)
        self._key = key
        self._arn = key if key.startswith("arn:") and not _is_alias(key) else None
        endpoint = options.get("endpoint")
        if endpoint is not None and not is_private(endpoint):
            raise SettingError(
                "the endpoint of aws-kms is not https: keys would be readable in transit"
            )
        try:
            self._client = boto3.client(
                "kms", region_name=options.get("region"), endpoint_url=options.get("endpoint")
            )
        except (*self._failures, ValueError) as error:
            raise SettingError(f"AWS KMS cannot be used ({type(error).__name__})") from None

    def key_id(self) -> str:
        if self._arn is None:
            found = self._call(self._client.describe_key, KeyId=self._key)
            self._arn = str(found["KeyMetadata"]["Arn"])
        return self._arn

    def earlier(self, key_id: str) -> Self | None:
        if not _is_alias(self._key):
            # Replicas of a key in several regions have one id (`mrk-…`), and open what another has encrypted.
            here, there = _last(self._key), _last(key_id)
            replica = here == there and here.startswith("mrk-")
            same = self._key == key_id if self._key.startswith("arn:") else here == there
            return self if same or replica else None
        try:
            now = self.key_id()
        except CryptoError:
            # Without the right to ask: the service refuses what is not of the alias's key.
            return self
        if now == key_id:
            return self
        if now.rpartition("/")[0] != key_id.rpartition("/")[0]:
            return None
        found = copy.copy(self)
        found._key = found._arn = key_id
        return found

    def encrypt(self, plain: bytes) -> bytes:
        answer = self._call(
            self._client.encrypt, KeyId=self._key, Plaintext=plain, EncryptionContext=self._CONTEXT
        )
        self._arn = str(answer["KeyId"])
        found: bytes = answer["CiphertextBlob"]
        return found

    def decrypt(self, sealed: bytes) -> bytes:
        found: bytes = self._call(
            self._client.decrypt,
            KeyId=self._key,
            CiphertextBlob=sealed,
            EncryptionContext=self._CONTEXT,
        )["Plaintext"]
        return found

    def _call(self, call: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return call(**arguments)
        except self._failures as error:
            response = getattr(error, "response", None) or {}
            code = response.get("Error", {}).get("Code") or type(error).__name__
            raise refused("AWS KMS", str(code), code == "NotFoundException") from None


def _is_alias(key: str) -> bool:
    return _resource(key).startswith("alias/")


def _resource(key: str) -> str:
    """What follows the account in an ARN (arn:aws:kms:REGION:ACCOUNT:key/ID), or all of a shorter name."""
    return key.split(":", 5)[-1] if key.startswith("arn:") else key


def _last(key: str) -> str:
    return _resource(key).rpartition("/")[2]
