"""Recipients and identities of age plugins: keys on hardware tokens, phones, in other services.

Source: C2SP ``age-plugin.md`` (https://c2sp.org/age-plugin), state machines ``recipient-v1`` and
``identity-v1``. The plugin is a program ``age-plugin-NAME`` on ``PATH`` that wraps and unwraps only file keys, so that
rewrapping and reading parts of a file work as with any other key. Its questions to a person are declined: tasks have
nobody to ask.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from airflow_mlsec.crypto import _bech32
from airflow_mlsec.crypto._header import Malformed, Stanza, read_stanzas
from airflow_mlsec.errors import CryptoError, UsageError

RECIPIENT_PREFIX = "age1"
IDENTITY_PREFIX = "age-plugin-"
# A key may have to be touched before it answers.
_TIMEOUT = 120.0
_NAME = re.compile(r"[a-z0-9+._-]+\Z")


@dataclass(frozen=True)
class PluginRecipient:
    """A recipient ``age1NAME1…`` of a plugin, or the recipient of a plugin's identity."""

    plugin: str
    text: str = field(repr=False)
    command: str = "add-recipient"

    @classmethod
    def parse(cls, text: str) -> PluginRecipient:
        """Read a recipient ``age1NAME1…``.

        :raises UsageError: if it is not one.
        """
        given = text.strip()
        name = _plugin_name(given, RECIPIENT_PREFIX)
        if name is None or given != given.lower():
            raise UsageError(f"'{given[:16]}…' is not the recipient of an age plugin (age1NAME1…)")
        return cls(name, given)

    def __str__(self) -> str:
        return self.text if self.command == "add-recipient" else f"age-plugin-{self.plugin}"

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key, readable by this recipient alone.

        :raises CryptoError: if the plugin wraps it in more stanzas than one.
        """
        stanzas, _ = self.wrap_labelled(file_key)
        if len(stanzas) != 1:
            raise CryptoError(f"age-plugin-{self.plugin} needs several stanzas for a recipient")
        return stanzas[0]

    def wrap_labelled(self, file_key: bytes) -> tuple[list[Stanza], frozenset[str]]:
        """The stanzas that wrap a file key for this recipient, and the labels that the other recipients
        must have too.

        :raises UsageError: if the plugin is not installed.
        :raises CryptoError: if it fails.
        """
        asked = [
            Stanza(self.command, (self.text,), b""),
            Stanza("wrap-file-key", (), file_key),
            Stanza("extension-labels", (), b""),
        ]
        stanzas: list[Stanza] = []
        labels: frozenset[str] = frozenset()
        with _talking(self.plugin, "recipient-v1", asked) as said:
            for answer in said:
                if answer.type == "recipient-stanza":
                    if len(answer.arguments) < 2 or answer.arguments[0] != "0":
                        raise Malformed
                    stanzas.append(Stanza(answer.arguments[1], answer.arguments[2:], answer.body))
                elif answer.type == "labels":
                    labels = frozenset(answer.arguments)
        if not stanzas:
            raise CryptoError(f"age-plugin-{self.plugin} did not wrap the file key")
        return stanzas, labels


@dataclass(frozen=True)
class PluginIdentity:
    """An identity ``AGE-PLUGIN-NAME-1…``; only the plugin knows what it holds; it is never shown."""

    plugin: str
    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> PluginIdentity:
        """Read an identity ``AGE-PLUGIN-NAME-1…``.

        :raises UsageError: if it is not one.
        """
        given = text.strip()
        name = _plugin_name(given, IDENTITY_PREFIX)
        if name is None or not name.endswith("-") or name == "-" or given != given.upper():
            raise UsageError("not the identity of an age plugin (AGE-PLUGIN-NAME-1…)")
        return cls(name[:-1], given)

    @property
    def recipient(self) -> PluginRecipient:
        """The recipient who has this identity."""
        return PluginRecipient(self.plugin, self.text, "add-identity")

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is for somebody else."""
        return self.unwrap_any([stanza])

    def unwrap_any(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key, or None if none of a file's stanzas is for this identity.

        :raises UsageError: if the plugin is not installed.
        :raises CryptoError: if it fails.
        """
        asked = [
            Stanza("add-identity", (self.text,), b""),
            *(Stanza("recipient-stanza", ("0", s.type, *s.arguments), s.body) for s in stanzas),
        ]
        found: bytes | None = None
        with _talking(self.plugin, "identity-v1", asked) as said:
            for answer in said:
                if answer.type == "file-key":
                    if answer.arguments != ("0",) or found is not None:
                        raise Malformed
                    found = answer.body
        return found


def names_plugin(text: str) -> bool:
    """Whether this is the recipient of a plugin."""
    return _plugin_name(text.strip(), RECIPIENT_PREFIX) is not None


def _plugin_name(text: str, prefix: str) -> str | None:
    """What follows ``prefix`` in the human-readable part, if it can be a program's name."""
    try:
        found, _ = _bech32.decode(text)
    except ValueError:
        return None
    name = found[len(prefix) :]
    return name if found.startswith(prefix) and _NAME.match(name) else None


@contextmanager
def _talking(plugin: str, machine: str, asked: Iterable[Stanza]) -> Iterator[Iterator[Stanza]]:
    """What a plugin answers, until it is done; each of its errors is raised as one of ours."""
    program = shutil.which(f"age-plugin-{plugin}")
    if program is None:
        raise UsageError(f"the age plugin age-plugin-{plugin} is not installed (not on PATH)")
    name = f"age-plugin-{plugin}"
    process = subprocess.Popen(  # noqa: S603
        [program, f"--age-plugin={machine}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    # One that hangs would hang the task.
    watch = threading.Timer(_TIMEOUT, process.kill)
    watch.start()
    try:
        process.stdin.write(b"".join(s.encode() for s in (*asked, Stanza("done", (), b""))))
        process.stdin.flush()
        yield _answers(name, process.stdout, process.stdin)
    except (Malformed, OSError):
        raise CryptoError(f"{name} broke off, or does not follow the protocol of age") from None
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                pipe.close()
            except OSError:
                continue


def _answers(name: str, read: IO[bytes], write: IO[bytes]) -> Iterator[Stanza]:
    for answer in read_stanzas(read):
        reply = "ok"
        if answer.type == "done":
            return
        if answer.type == "error":
            # Its message is the plugin's own; it may quote what it was given.
            kind = answer.arguments[0] if answer.arguments[:1] in _ERRORS else "internal"
            raise CryptoError(f"{name} failed ({kind} error); try it with age itself to see why")
        if answer.type in ("confirm", "request-public", "request-secret"):
            reply = "fail"
        elif answer.type not in ("msg", "recipient-stanza", "labels", "file-key"):
            reply = "unsupported"
        write.write(Stanza(reply, (), b"").encode())
        write.flush()
        yield answer
    raise Malformed


_ERRORS = (("recipient",), ("identity",), ("stanza",), ("internal",))
