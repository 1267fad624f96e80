"""Which names say that a value is a secret, whatever it looks like; and which values are none."""

from __future__ import annotations

import re

# Words, or ends of compounds, that say it alone.
_SECRET_WORD = re.compile(
    r".*(password|passwd|passphrase|passcode|credential|secret|token|apikey|pwd|authorization)s?|pass|pw|creds?"
)
# Words before `key` that make it one to be kept.
_KEY_KINDS = {
    "access", "account", "api", "auth", "aws", "azure", "cipher", "client", "database", "db", "decryption", "encryption", "fernet",
    "gcp", "hmac", "jwt", "license", "master", "priv", "private", "root", "secret", "service", "shared", "signing", "ssh", "storage",
    "webhook",
}  # fmt: skip
# What may follow: which of several it is, or in what form.
_AFTER = {
    "admin", "b", "backup", "base", "bytes", "data", "default", "dev", "development", "dict", "encoded", "eu", "hash",
    "hex", "json", "live", "main", "new", "old", "plain", "primary", "prod", "production", "qa", "raw", "root",
    "secondary", "stage", "staging", "str", "string", "test", "text", "uat", "us", "val", "value",
}  # fmt: skip
# Of language models and of pages.
_OF_LANGUAGE = {
    "additional", "bos", "cls", "continuation", "end", "eos", "mask", "max", "min", "next", "num", "pad", "page",
    "sep", "special", "start", "stop", "unk", "word",
}  # fmt: skip
# Of data, through a network or a program.
_PASSES = {"backward", "by", "first", "forward", "last", "n", "num", "second", "single", "third"}
# What stands beside secrets in a mapping of them.
_BESIDE = {
    "account", "arn", "backend", "conn", "database", "db", "description", "email", "endpoint", "expires", "expiry",
    "file", "host", "id", "in", "kind", "label", "login", "method", "mode", "name", "namespace", "path", "port",
    "project", "provider", "ref", "region", "schema", "scope", "scopes", "server", "tenant", "ttl", "type", "uri",
    "url", "user", "username", "version",
}  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_NAME = re.compile(r"[\w.@\[\] -]{1,200}\Z")
# What is looked up when it is needed, made up, or masked.
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
    """Whether a value under this name is a secret by its name. ``name`` may be a path with ``.`` and ``[0]``."""
    # What stands above a value may be an address or a whole text.
    end = _NAME.search(name[-_LONGEST_NAME:])
    if end is None:
        return False
    words = _words_of(end[0])
    if not words or not (_say_secret(words) or _in_a_mapping_of_secrets(end[0])):
        return False
    if isinstance(value, int):
        # Numbers are passwords, but no tokens: those are counted.
        return "pass" in words[-1] and abs(value) > _SMALL
    text = value.strip()
    if len(text) < _SHORTEST or text.startswith(_COMMENT) or is_reference(text):
        return False
    # Words, and patterns of them, are tokens of a text, and names of keys; passwords can be anything.
    token = any(word.startswith("token") for word in words)
    if token and not re.fullmatch(r"[\w.~+/=:-]+", text):
        return False
    if token or words[-1].startswith("key"):
        return any(c.isdigit() for c in text) or len(text) > _LONG
    return True


def is_reference(value: str) -> bool:
    """Whether a value tells where something is or what it is called, and is not the thing itself."""
    text = value.strip()
    if _REFERENCE.fullmatch(text) or _PLACE.fullmatch(text) or text.lower() in _WORDS_OF_SETTINGS:
        return True
    # The name of a variable or a field (DB_PASSWORD, client-secret), or of something in Python.
    named = re.fullmatch(r"[A-Za-z]+([_-][A-Za-z]+)*", text) and _say_secret(_words_of(text))
    return bool(named or re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", text))


def is_allowed(lines: list[str], number: int) -> bool:
    """Whether a line, of which the first is 1, or the one before says that it holds no secret."""
    before = lines[number - 2] if 2 <= number <= len(lines) + 1 else ""
    return _ALLOWED_NEXT in before or (number <= len(lines) and _ALLOWED in lines[number - 1])


def _words_of(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(re.sub(r"\[\d*\]", "", name))]


def _say_secret(words: list[str]) -> bool:
    """Whether words end with one for a secret, but for what may follow it."""
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
    """Whether a name is one of several below a name in the plural: ``passwords.alice``."""
    above, _, own = name.rpartition(".")
    words = _words_of(above)
    return bool(
        words
        and words[-1] in ("passwords", "secrets", "credentials", "creds", "tokens", "keys")
        and _say_secret(words)
        and not set(_words_of(own)[-1:]) & _BESIDE
    )
