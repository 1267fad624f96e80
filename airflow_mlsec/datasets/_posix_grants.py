"""Grants of a local file or folder: owner, group and others from the POSIX mode, group members named one by one, and the
folders that must be traversed."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from airflow_mlsec.datasets._connector import Grant
from airflow_mlsec.errors import DatasetNotFound, UnsupportedDataset


def grants_of_path(path: Path) -> list[Grant]:
    """Grants on a file, or on a folder and what is in it.

    :raises DatasetNotFound: if nothing is there.
    :raises UnsupportedDataset: if it has an access control list.
    """
    try:
        found = _of_one(path)
    except FileNotFoundError:
        raise DatasetNotFound(f"nothing is at {path}") from None
    if not path.is_dir():
        return sorted(set(found))
    # Anyone who may traverse a folder can read files in it whose names they know, listed or not.
    passing = _classes_that_pass(path.stat().st_mode)
    known = {(grant.principal, word) for grant in found for word in grant.permission.split(", ")}
    for inside in sorted(path.rglob("*")):
        if inside.is_symlink() or not inside.is_file():
            continue
        for grant in _of_one(inside):
            words = grant.permission.split(", ")
            new = [word for word in words if (grant.principal, word) not in known]
            if new and grant.origin.split(" ")[0] in passing:
                known |= {(grant.principal, word) for word in new}
                found.append(Grant(grant.principal, ", ".join(new), f"{grant.origin}, files in it"))
    return sorted(set(found))


def _classes_that_pass(mode: int) -> set[str]:
    bits = {
        "owner": stat.S_IXUSR,
        "group": stat.S_IXGRP,
        "member": stat.S_IXGRP,
        "others": stat.S_IXOTH,
    }
    # A file's owner may be anybody; it is not assumed that the folder keeps the owner out.
    return {"owner", *(name for name, bit in bits.items() if mode & bit)}


def _of_one(path: Path) -> list[Grant]:
    status = path.stat()
    if "system.posix_acl_access" in os.listxattr(path):
        raise UnsupportedDataset(
            f"{path} has a POSIX access control list, which this version cannot read; "
            "a review of its mode alone would miss people"
        )
    mode = status.st_mode
    found = [Grant("root", "read, write", "superuser")]
    if permission := _permission(mode, stat.S_IRUSR, stat.S_IWUSR):
        found.append(Grant(_user(status.st_uid), permission, "owner"))
    if permission := _permission(mode, stat.S_IRGRP, stat.S_IWGRP):
        name, members = _group(status.st_gid)
        found += [Grant(member, permission, f"member of group {name}") for member in members]
        found.append(Grant(f"group {name}", permission, "group"))
    if permission := _permission(mode, stat.S_IROTH, stat.S_IWOTH):
        found.append(Grant("everybody on the machine", permission, "others"))
    return found


def _permission(mode: int, read: int, write: int) -> str:
    return ", ".join(word for bit, word in ((read, "read"), (write, "write")) if mode & bit)


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
