"""Which process started something, and whether it has certainly ended.

Process ids are reused, and are meaningful only on one machine (and in one container); so the
machine's boot id, the container's process namespace and the process's start time are kept with the
process id.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """What distinguishes this process from every other, as plain data."""
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def is_seen_from_here(process: Mapping[str, Any]) -> bool:
    """Whether this process could see that another one (`this_process`) is running. Another boot id may mean
    another machine of the same name, as with containers."""
    here = {"host": socket.gethostname(), "boot": _boot(), "namespace": _namespace()}
    return None not in here.values() and all(process.get(n) == v for n, v in here.items())


def has_ended(process: Mapping[str, Any]) -> bool:
    """Whether a process (`this_process`) is certainly gone. A process that runs, or ran, elsewhere cannot be
    seen from here and counts as running."""
    return is_seen_from_here(process) and _started(int(process["pid"])) != process.get("started")


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process started, in ticks since the boot; None if there is none, or only its exit status
    remains to be collected."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in parentheses, may hold anything.
    state, *rest = text.rpartition(") ")[2].split()
    return None if state in ("Z", "X") else rest[18]
