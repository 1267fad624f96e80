"""AWS KMS. The key is symmetric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qs

from airflow_mlsec.crypto.key_services._service import KeyService, is_private, refused
from airflow_mlsec.errors import SettingError, UsageError


class AwsKms(KeyService):
    """AWS KMS, by boto3, which signs in by environment, profile or role. The encryption context names us in CloudTrail."""

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

    def encrypt(self, plain: bytes) -> bytes:
        found: bytes = self._call(
            self._client.encrypt, KeyId=self._key, Plaintext=plain, EncryptionContext=self._CONTEXT
        )["CiphertextBlob"]
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
