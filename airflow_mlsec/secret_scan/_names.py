"""Which names mark a value as a secret, whatever it looks like; which values are not secrets."""

from __future__ import annotations

import re

# Words, or ends of compounds, that are sufficient on their own.
_SECRET_WORD = re.compile(
    r".*(password|passwd|passphrase|passcode|credential|secret|token|apikey|pwd|authorization)s?|pass|pw|creds?"
)
# Words before `key` that make it a secret key.
_KEY_KINDS = {
    "access", "account", "api", "auth", "aws", "azure", "cipher", "client", "database", "db", "decryption", "encryption", "fernet",
    "gcp", "hmac", "jwt", "license", "master", "priv", "private", "root", "secret", "service", "shared", "signing", "ssh", "storage",
    "webhook",
}  # fmt: skip
# Words that may follow: which of several secrets it is, or in what form.
_AFTER = {
    "admin", "b", "backup", "base", "bytes", "data", "default", "dev", "development", "dict", "encoded", "eu", "hash",
    "hex", "json", "live", "main", "new", "old", "plain", "primary", "prod", "production", "qa", "raw", "root",
    "secondary", "stage", "staging", "str", "string", "test", "text", "uat", "us", "val", "value",
}  # fmt: skip
# Words before `token` in language models and paging.
_OF_LANGUAGE = {
    "additional", "bos", "cls", "continuation", "end", "eos", "mask", "max", "min", "next", "num", "pad", "page",
    "sep", "special", "start", "stop", "unk", "word",
}  # fmt: skip
# Words before `pass` for passes over data, in a network or a program.
_PASSES = {"backward", "by", "first", "forward", "last", "n", "num", "second", "single", "third"}
# Names of other entries in a mapping of secrets.
_BESIDE = {
    "account", "arn", "backend", "conn", "database", "db", "description", "email", "endpoint", "expires", "expiry",
    "file", "host", "id", "in", "kind", "label", "login", "method", "mode", "name", "namespace", "path", "port",
    "project", "provider", "ref", "region", "schema", "scope", "scopes", "server", "tenant", "ttl", "type", "uri",
    "url", "user", "username", "version",
}  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_NAME = re.compile(r"[\w.@\[\] -]{1,200}\Z")
# References that are looked up when needed, placeholders, and masked values.
_REFERENCE = re.compile(
    r"\{\{((?!\}\}).)*\}\}|\{%.*%\}|\$\{[^}]*\}|\$\(.*|`.*|\$[A-Z_][A-Z0-9_]*|\$[a-z_]+|%\(\w+\)s|%s|\{[\w.]*\}"
    r"|<[A-Za-z _/-]*>|\[[A-Z ]+\]|[*.xX]+|(?i:your)[-_ ][\w -]*|",
    re.DOTALL,
)
_WORDS_OF_SETTINGS = {
    "true",
    "false",
    "none",
    "null",
    "yes",
    "no",
    "on",
    "off",
    "required",
    "optional",
    "bearer",
}
# A path, or an address without a password.
_PLACE = re.compile(
    r"(~|\.{1,2})?/[\w./~-]*|[a-z][a-z0-9+.-]*://[^@\s]*|arn:aws:(secretsmanager|ssm|kms):.*"
)
_COMMENT = ("#", ";", "//", '"""')
_SHORTEST, _SMALL, _LONG, _LONGEST_NAME = 3, 999, 19, 200
_ALLOWED, _ALLOWED_NEXT = "pragma: allowlist secret", "pragma: allowlist nextline secret"


def is_secret(name: str, value: str | int) -> bool:
    """Whether the name marks the value as a secret. ``name`` may be a path with ``.`` and ``[0]``."""
    # The part of the path above a value may be an address or a whole text.
    end = _NAME.search(name[-_LONGEST_NAME:])
    if end is None:
        return False
    words = _words_of(end[0])
    if not words or not (_say_secret(words) or _in_a_mapping_of_secrets(end[0])):
        return False
    if isinstance(value, int):
        # Numbers can be passwords, but not tokens: "tokens" with a number means a count.
        return "pass" in words[-1] and abs(value) > _SMALL
    text = value.strip()
    if len(text) < _SHORTEST or text.startswith(_COMMENT) or is_reference(text):
        return False
    # Words, and patterns of words, may be tokens of a text or names of keys; passwords can be anything.
    token = any(word.startswith("token") for word in words)
    if token and not re.fullmatch(r"[\w.~+/=:-]+", text):
        return False
    if token or words[-1].startswith("key"):
        return any(c.isdigit() for c in text) or len(text) > _LONG
    return True


def is_reference(value: str) -> bool:
    """Whether a value states where something is or what it is called, and is not the thing itself."""
    text = value.strip()
    if _REFERENCE.fullmatch(text) or _PLACE.fullmatch(text) or text.lower() in _WORDS_OF_SETTINGS:
        return True
    # The name of a variable or a field (DB_PASSWORD, client-secret), or of something in Python.
    named = re.fullmatch(r"[A-Za-z]+([_-][A-Za-z]+)*", text) and _say_secret(_words_of(text))
    return bool(named or re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", text))


def is_allowed(lines: list[str], number: int) -> bool:
    """Whether a line (counted from 1) or the line before it is marked as holding no secret."""
    before = lines[number - 2] if 2 <= number <= len(lines) + 1 else ""
    return _ALLOWED_NEXT in before or (number <= len(lines) and _ALLOWED in lines[number - 1])


def _words_of(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(re.sub(r"\[\d*\]", "", name))]


def _say_secret(words: list[str]) -> bool:
    """Whether words end with a word for a secret, ignoring words that may follow it."""
    end = len(words)
    while end and (words[end - 1].isdigit() or words[end - 1] in _AFTER):
        end -= 1
    if not end:
        return False
    last, before = words[end - 1], words[end - 2] if end > 1 else ""
    if last == "pass" and before in _PASSES:
        return False
    if last in ("key", "keys", "keyfile"):
        return before in _KEY_KINDS or last == "keyfile"
    if last.startswith("token") and _OF_LANGUAGE & set(words[: end - 1]):
        return False
    return _SECRET_WORD.fullmatch(last) is not None


def _in_a_mapping_of_secrets(name: str) -> bool:
    """Whether a name is an entry below a plural name for secrets: ``passwords.alice``."""
    above, _, own = name.rpartition(".")
    words = _words_of(above)
    return bool(
        words
        and words[-1] in ("passwords", "secrets", "credentials", "creds", "tokens", "keys")
        and _say_secret(words)
        and not set(_words_of(own)[-1:]) & _BESIDE
    )
