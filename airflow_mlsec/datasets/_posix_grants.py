"""Grants of a local file or folder: owner, group and others from the POSIX mode, users and groups of an access control
list (acl(5)), group members named one by one, and what is in a folder that can be passed."""

from __future__ import annotations

import grp
import os
import pwd
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_mlsec.datasets._connector import Grant
from airflow_mlsec.errors import DatasetNotFound, UnsupportedDataset


def grants_of_path(path: Path) -> list[Grant]:
    """Grants on a file, or on a folder and what is in it.

    :raises DatasetNotFound: if nothing is there.
    :raises UnsupportedDataset: if it has an access control list of a form that is not known.
    """
    try:
        found = _of_one(path)
    except FileNotFoundError:
        raise DatasetNotFound(f"nothing is at {path}") from None
    if not path.is_dir():
        return sorted(set(found))
    # Anyone who may traverse a folder can read files in it whose names they know, listed or not.
    passing = _passing(path)
    known = {(grant.principal, word) for grant in found for word in grant.permission.split(", ")}
    for inside in _inside(path):
        if inside.is_symlink() or not inside.is_file():
            continue
        for grant in _of_one(inside):
            words = grant.permission.split(", ")
            new = [word for word in words if (grant.principal, word) not in known]
            # A file's owner may be anybody; it is not assumed that the folder keeps the owner out.
            if new and (
                grant.origin.startswith("owner")
                or passing & {grant.principal, "everybody on the machine"}
            ):
                known |= {(grant.principal, word) for word in new}
                found.append(Grant(grant.principal, ", ".join(new), f"{grant.origin}, files in it"))
    return sorted(set(found))


def _inside(folder: Path) -> list[Path]:
    """What is in a folder.

    :raises UnsupportedDataset: if a part of it cannot be listed: who can reach that would be missing.
    """

    def failed(error: OSError) -> None:
        raise UnsupportedDataset(
            f"who can reach what is in {error.filename} cannot be read ({type(error).__name__})"
        ) from None

    found = []
    for at, folders, names in os.walk(folder, onerror=failed):
        found += [Path(at, name) for name in (*folders, *names)]
    return sorted(found)


def _passing(folder: Path) -> set[str]:
    """Who may pass through a folder."""
    status = folder.stat()
    entries = _entries(folder, status)
    found = {"root"}
    for entry in entries:
        if entry.bits & _PASS:
            found.update(name for name, _ in _named(entry))
    return found


@dataclass(frozen=True)
class _Entry:
    """An entry of an access control list; a mode is one with three. ``bits`` is what is really permitted."""

    tag: int
    number: int
    bits: int


# acl(5), and linux/posix_acl_xattr.h for the stored form.
_USER_OBJECT, _USER, _GROUP_OBJECT, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_READ, _WRITE, _PASS = 4, 2, 1
_VERSION = 2


def _entries(path: Path, status: os.stat_result) -> list[_Entry]:
    mode = status.st_mode
    if "system.posix_acl_access" not in os.listxattr(path):
        return [
            _Entry(_USER_OBJECT, status.st_uid, mode >> 6 & 7),
            _Entry(_GROUP_OBJECT, status.st_gid, mode >> 3 & 7),
            _Entry(_OTHER, 0, mode & 7),
        ]
    stored = os.getxattr(path, "system.posix_acl_access")
    if len(stored) % 8 != 4 or struct.unpack_from("<I", stored)[0] != _VERSION:
        raise UnsupportedDataset(f"{path} has an access control list of a form that is not known")
    read = [struct.unpack_from("<HHI", stored, at) for at in range(4, len(stored), 8)]
    known = {_USER_OBJECT, _USER, _GROUP_OBJECT, _GROUP, _MASK, _OTHER}
    if not {tag for tag, _, _ in read} <= known:
        raise UnsupportedDataset(f"{path} has an access control list of a form that is not known")
    mask = next((bits for tag, bits, _ in read if tag == _MASK), 7)
    own = {_USER_OBJECT: status.st_uid, _GROUP_OBJECT: status.st_gid}
    limited = {_USER, _GROUP_OBJECT, _GROUP}
    return [
        _Entry(tag, own.get(tag, number), bits & (mask if tag in limited else 7))
        for tag, bits, number in read
        if tag != _MASK
    ]


def _of_one(path: Path) -> list[Grant]:
    status = path.stat()
    found = [Grant("root", "read, write", "superuser")]
    entries = _entries(path, status)
    owned = next(entry.bits for entry in entries if entry.tag == _USER_OBJECT)
    if status.st_uid and owned & (_READ | _WRITE) != _READ | _WRITE:
        found.append(Grant(_user(status.st_uid), "change its mode", "owner"))
    # Whoever is named has what is said of them, whatever groups they are in.
    own = {_user(entry.number) for entry in entries if entry.tag in (_USER_OBJECT, _USER)}
    for entry in entries:
        words = [word for bit, word in ((_READ, "read"), (_WRITE, "write")) if entry.bits & bit]
        if words:
            of_group = entry.tag in (_GROUP_OBJECT, _GROUP)
            found += [
                Grant(name, ", ".join(words), origin)
                for name, origin in _named(entry)
                if not (of_group and name in own)
            ]
    return found


def _named(entry: _Entry) -> Iterator[tuple[str, str]]:
    """Whom an entry is about, and why; members of a group one by one, and the group itself."""
    if entry.tag in (_USER_OBJECT, _USER):
        yield _user(entry.number), "owner" if entry.tag == _USER_OBJECT else "access control list"
    elif entry.tag == _OTHER:
        yield "everybody on the machine", "others"
    else:
        name, members = _group(entry.number)
        of_list = entry.tag == _GROUP
        for member in members:
            yield member, f"member of group {name}" + (", access control list" if of_list else "")
        yield f"group {name}", "group, access control list" if of_list else "group"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> tuple[str, list[str]]:
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return f"gid {gid}", []
    primary = [user.pw_name for user in pwd.getpwall() if user.pw_gid == gid]
    return group.gr_name, sorted({*group.gr_mem, *primary})
