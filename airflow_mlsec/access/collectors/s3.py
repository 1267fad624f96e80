"""A bucket of S3: ``s3://CONN@BUCKET``, or ``s3://BUCKET`` with the client's own credentials.

Read are the policies of users, groups and roles with their boundaries, who may assume which role, the bucket's policy, its
access control list, and what blocks public access. Listed is what these allow. What an organization's service control
policies, an endpoint's or a session's take away again is not subtracted: the list may have too many, not too few.

AWS Identity and Access Management, User Guide, "Policy evaluation logic"; Amazon S3, User Guide, "Access control".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from airflow_mlsec.access._collector import Change, Collector, Tells
from airflow_mlsec.access._model import Account, AccountKind, Collected, Entitlement, Right
from airflow_mlsec.access.collectors import _iam
from airflow_mlsec.connections import Connections
from airflow_mlsec.errors import DatasetError, UsageError

_SCHEME = "s3://"
_SCHEMES = (_SCHEME, "s3a://", "s3n://")
# What is done with objects, or decides who may.
_ACTIONS = {
    "s3:GetObject": Right.READ,
    "s3:GetObjectVersion": Right.READ,
    "s3:PutObject": Right.WRITE,
    "s3:DeleteObject": Right.WRITE,
    "s3:DeleteObjectVersion": Right.WRITE,
    "s3:ReplicateObject": Right.WRITE,
    "s3:PutObjectAcl": Right.ADMINISTER,
    "s3:PutObjectVersionAcl": Right.ADMINISTER,
}
_ON_BUCKET = {
    **dict.fromkeys(
        (
            "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketAcl", "s3:PutBucketPublicAccessBlock",
            "s3:PutBucketOwnershipControls", "s3:PutReplicationConfiguration", "s3:CreateAccessPoint",
            "s3:PutAccessPointPolicy",
        ),
        Right.ADMINISTER,
    ),
    "s3:PutLifecycleConfiguration": Right.WRITE,
}  # fmt: skip
# With any of these of IAM somebody gives themselves every other permission.
_ON_ACCOUNT = dict.fromkeys(
    (
        "iam:AttachUserPolicy", "iam:PutUserPolicy", "iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion",
        "iam:AddUserToGroup", "iam:AttachGroupPolicy", "iam:PutGroupPolicy", "iam:AttachRolePolicy", "iam:PutRolePolicy",
        "iam:UpdateAssumeRolePolicy", "iam:CreateAccessKey", "iam:CreateLoginProfile", "iam:UpdateLoginProfile",
        "iam:PassRole", "iam:DeleteUserPermissionsBoundary", "iam:PutUserPermissionsBoundary",
    ),
    Right.ADMINISTER,
)  # fmt: skip
_EVERYBODY = "everybody"
_EVERY_ACCOUNT = "every AWS account"
_GROUPS = {
    "http://acs.amazonaws.com/groups/global/AllUsers": _EVERYBODY,
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers": _EVERY_ACCOUNT,
}
_OF_LIST = {
    "READ": ("list objects", Right.READ),
    "WRITE": ("write objects", Right.WRITE),
    "WRITE_ACP": ("write the access control list", Right.ADMINISTER),
    "FULL_CONTROL": ("full control", Right.ADMINISTER),
}


_Calls = tuple[Mapping[str, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class _Principal:
    """A user or a role of the account, and the policies that are about it."""

    name: str
    arn: str
    statements: tuple[_iam.Statement, ...]
    boundary: tuple[_iam.Statement, ...] | None
    variables: Mapping[str, str]
    account: Account
    # By the origin of a statement: the calls that take it away, and that give it back.
    endings: Mapping[str, _Calls] = field(default_factory=dict)
    # Of a role: who may assume it.
    trust: tuple[_iam.Statement, ...] = ()


@dataclass(frozen=True)
class _Store:
    """What was read of a bucket and of its account."""

    bucket: str
    account: str
    principals: tuple[_Principal, ...] = ()
    policy: tuple[_iam.Statement, ...] = ()
    owner: str | None = None
    listed: tuple[Mapping[str, Any], ...] = ()
    lists_count: bool = True
    blocks: Mapping[str, bool] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    # ``aws``, or that of China or of a government.
    partition: str = "aws"

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"

    @property
    def objects(self) -> str:
        return f"{self.arn}/*"


@dataclass(frozen=True)
class _Way:
    """How somebody comes to something; ``calls`` are what would end it, and give it back."""

    resource: str
    account: str
    permission: str
    path: str
    right: Right
    calls: _Calls | None = None
    origin: str | None = None


class S3(Collector):
    """Reads a bucket's own settings, and the users, groups and roles of its account."""

    name = "s3"
    schemes = ("s3", "s3a", "s3n")
    tells = (Tells.LAST_USED, Tells.PASSWORDS)

    def canonical(self, source: str, connections: Connections) -> str:
        authority = source.partition("://")[2].rstrip("/")
        if not authority.rpartition("@")[2] or "/" in authority or ":" in authority:
            raise UsageError(
                "a bucket is named by its connection: write s3://CONN@BUCKET or s3://BUCKET"
            )
        return _SCHEME + authority

    def source_of(self, location: str, connections: Connections) -> str | None:
        if not location.startswith(_SCHEMES):
            return None
        return _SCHEME + location.partition("://")[2].partition("/")[0]

    def concerned(
        self, resources: Set[str], location: str, connections: Connections
    ) -> Collection[str]:
        if not location.startswith(_SCHEMES):
            return ()
        authority, _, key = location.partition("://")[2].partition("/")
        return [r for r in resources if r.startswith(_SCHEME) and _is_below(r, authority, key)]

    def collect(self, source: str, connections: Connections) -> Collected:
        with _services(source, connections) as call:
            store = _read(source, call)
        ways = list(_ways(store, source))
        accounts = {p.name: p.account for p in store.principals}
        for way in ways:
            accounts.setdefault(way.account, _outside(way.account))
        entitlements = [
            Entitlement(w.resource, w.account, w.permission, w.path, w.right) for w in ways
        ]
        return Collected(tuple(accounts.values()), tuple(entitlements), store.unread)

    def withdraw(
        self, source: str, entitlements: Sequence[Entitlement], connections: Connections
    ) -> list[Change | None]:
        with _services(source, connections) as call:
            store = _read(source, call)
        ways = list(_ways(store, source))
        found = {Entitlement(w.resource, w.account, w.permission, w.path, w.right): w for w in ways}
        changes: list[Change | None] = []
        for entitlement in entitlements:
            way = found.get(entitlement)
            if way is None or way.calls is None:
                changes.append(None)
                continue
            also = sorted(
                e for e, other in found.items() if other.calls == way.calls and e != entitlement
            )
            also += _beyond(store, entitlement, way)
            do, undo = (json.dumps(call, sort_keys=True) for call in way.calls)
            changes.append(Change(do, undo, tuple(also)))
        return changes

    def grant(
        self, source: str, location: str, account: str, right: Right, connections: Connections
    ) -> Change | None:
        return None

    def apply(self, source: str, statements: Sequence[str], connections: Connections) -> None:
        with _services(source, connections) as call:
            for done, text in enumerate(statements):
                document = json.loads(text)
                if (document["service"], document["operation"]) not in _CHANGES:
                    raise UsageError(f"'{source}': {document['operation']} is not a change of ours")
                try:
                    given = document["parameters"]
                    if document["service"] == "s3":
                        _change_policy(
                            call, document["operation"], given["Bucket"], given["Statement"]
                        )
                    else:
                        call(document["service"], document["operation"], **given)
                except DatasetError:
                    if done:
                        raise DatasetError(
                            f"'{source}': {done} of {len(statements)} changes were made before one failed"
                        ) from None
                    raise


def _beyond(store: _Store, entitlement: Entitlement, way: _Way) -> list[Entitlement]:
    """What else the policies say that end: about other buckets, other services."""
    principal = next((p for p in store.principals if p.name == entitlement.account), None)
    if principal is None or way.origin is None or way.calls is None:
        return []
    ending = {origin for origin, calls in principal.endings.items() if calls == way.calls}
    prefixes = (store.arn, f"{store.arn}/")
    return [
        Entitlement(resource, principal.name, ", ".join(_iam.texts(s.document.get("Action", "NotAction"))), s.origin, Right.USE)
        for s in principal.statements
        if s.origin in ending and s.allows
        for resource in s.resources(principal.variables)
        if not resource.startswith(prefixes)
    ]  # fmt: skip


def _is_below(resource: str, authority: str, key: str) -> bool:
    """Whether a resource is about an object, or about something in a folder."""
    of, _, pattern = resource.removeprefix(_SCHEME).partition("/")
    if of != authority:
        return False
    # A folder is everything below it; a pattern of keys is one already.
    below = key.rstrip("/")
    inside = f"{below}/*" if below else "*"
    return not pattern or _iam.overlaps(pattern, below) or _iam.overlaps(pattern, inside)


# Not the service's own, which replace the whole policy.
_TAKE_OUT, _PUT_BACK = "take_statement_out", "put_statement_back"
_CHANGES = {
    ("s3", _TAKE_OUT),
    ("s3", _PUT_BACK),
    ("iam", "detach_user_policy"),
    ("iam", "attach_user_policy"),
    ("iam", "detach_role_policy"),
    ("iam", "attach_role_policy"),
    ("iam", "delete_user_policy"),
    ("iam", "put_user_policy"),
    ("iam", "delete_role_policy"),
    ("iam", "put_role_policy"),
    ("iam", "remove_user_from_group"),
    ("iam", "add_user_to_group"),
}

Call = Callable[..., dict[str, Any]]


class _NotThere(DatasetError):
    """The service has none of what was asked for."""


@contextmanager
def _services(source: str, connections: Connections) -> Iterator[Call]:
    """A function that makes a request to a service of the account, as the filesystem of the connection is authenticated.

    It raises `DatasetError` with the service's own code, never with its message, which may quote anything.
    """
    from fsspec.asyn import sync

    authority = source.removeprefix(_SCHEME)
    conn, at, _ = authority.rpartition("@")
    filesystem = connections.filesystem("s3", conn if at else None)
    filesystem.connect()
    options = {
        "aws_access_key_id": filesystem.key,
        "aws_secret_access_key": filesystem.secret,
        "aws_session_token": filesystem.token,
        **{
            name: value
            for name, value in filesystem.client_kwargs.items()
            if name in ("endpoint_url", "region_name", "verify", "use_ssl")
        },
    }
    if filesystem.endpoint_url:
        options["endpoint_url"] = filesystem.endpoint_url
    given = {name: value for name, value in options.items() if value is not None}
    stack, clients = AsyncExitStack(), dict[str, Any]()

    async def ask(service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if service not in clients:
            made = filesystem.session.create_client(service, **given)
            clients[service] = await stack.enter_async_context(made)
        client = clients[service]
        if not client.can_paginate(operation):
            return dict(await getattr(client, operation)(**parameters))
        found: dict[str, Any] = {}
        async for page in client.get_paginator(operation).paginate(**parameters):
            for name, value in page.items():
                found[name] = [*found.get(name, []), *value] if isinstance(value, list) else value
        return found

    def call(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return dict(sync(filesystem.loop, ask, service, operation, parameters))
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "error"))
            kind = _NotThere if code.startswith("NoSuch") or code.endswith("NotFoundError") else DatasetError  # fmt: skip
            raise kind(f"'{source}': {service} refuses {operation} ({code})") from None
        except BotoCoreError as error:
            raise DatasetError(
                f"'{source}': {service} does not answer {operation} ({type(error).__name__})"
            ) from None

    try:
        yield call
    finally:
        sync(filesystem.loop, stack.aclose)


def _read(source: str, call: Call) -> _Store:
    bucket = source.removeprefix(_SCHEME).rpartition("@")[2]
    unread: list[str] = []

    def part(what: str, service: str, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """What a request answers; empty where there is none of it, and None where it cannot be read."""
        try:
            return call(service, operation, **parameters)
        except _NotThere:
            return {}
        except DatasetError as error:
            unread.append(f"{what}: {error}")
            return None

    acl = call("s3", "get_bucket_acl", Bucket=bucket)
    identity = part("the account's number", "sts", "get_caller_identity") or {}
    policy = part("the bucket's policy", "s3", "get_bucket_policy", Bucket=bucket) or {}
    blocks: dict[str, bool] = {}
    answer = part("what blocks public access", "s3", "get_public_access_block", Bucket=bucket)
    blocks |= (answer or {}).get("PublicAccessBlockConfiguration", {})
    ownership = part("who owns objects", "s3", "get_bucket_ownership_controls", Bucket=bucket) or {}
    rules = ownership.get("OwnershipControls", {}).get("Rules", [])
    lists_count = all(rule.get("ObjectOwnership") != "BucketOwnerEnforced" for rule in rules)
    if lists_count:
        # Lists that are ignored if they are public still count if they name an account.
        unread.append(
            "access control lists of single objects are not read; set the bucket's object ownership to BucketOwnerEnforced, "
            "so that there are none"
        )
    kinds = ["User", "Group", "Role", "LocalManagedPolicy"]
    found = part(
        "users, groups and roles", "iam", "get_account_authorization_details", Filter=kinds
    )
    account = str(identity.get("Account", ""))
    if account:
        try:
            call("s3", "get_bucket_acl", Bucket=bucket, ExpectedBucketOwner=account)
        except DatasetError:
            unread.append(
                "the bucket is of another account: its users, groups and roles are not read"
            )
    text = policy.get("Policy")
    return _Store(
        bucket, account,
        tuple(_principals(found or {}, account, call)),
        tuple(_iam.statements(json.loads(text), "bucket policy")) if text else (),
        acl.get("Owner", {}).get("ID"), tuple(acl.get("Grants", ())), lists_count, blocks, tuple(unread),
        str(identity.get("Arn", "arn:aws")).split(":")[1],
    )  # fmt: skip


def _document(text: Any) -> Any:
    # IAM sends them percent-encoded, and the client decodes most of them.
    return json.loads(unquote(text)) if isinstance(text, str) else text


def _managed(found: Mapping[str, Any], call: Call) -> Callable[[str], Any]:
    """The document of a managed policy; one of AWS itself is asked for when it is needed: there are a thousand."""
    known = {
        policy["Arn"]: version["Document"]
        for policy in found.get("Policies", ())
        for version in policy["PolicyVersionList"]
        if version["IsDefaultVersion"]
    }

    def document(arn: str) -> Any:
        if arn not in known:
            version = call("iam", "get_policy", PolicyArn=arn)["Policy"]["DefaultVersionId"]
            answer = call("iam", "get_policy_version", PolicyArn=arn, VersionId=version)
            known[arn] = answer["PolicyVersion"]["Document"]
        return _document(known[arn])

    return document


def _principals(found: Mapping[str, Any], account: str, call: Call) -> Iterator[_Principal]:
    managed = _managed(found, call)

    def of(entry: Mapping[str, Any], kind: str, words: str = "") -> list[_iam.Statement]:
        made = []
        for policy in entry.get(f"{kind}PolicyList", ()):
            document = _document(policy["PolicyDocument"])
            made += _iam.statements(document, f"{words}policy {policy['PolicyName']}")
        for policy in entry.get("AttachedManagedPolicies", ()):
            document = managed(policy["PolicyArn"])
            made += _iam.statements(document, f"{words}{_attached(policy)}")
        return made

    def boundary(entry: Mapping[str, Any]) -> tuple[_iam.Statement, ...] | None:
        arn = entry.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
        if arn is None:
            return None
        return tuple(_iam.statements(managed(arn), "permissions boundary"))

    groups = {
        group["GroupName"]: of(group, "Group", f"{_member(group['GroupName'])}, ")
        for group in found.get("GroupDetailList", ())
    }
    seen = _last_seen(call)
    for user in found.get("UserDetailList", ()):
        name, endings = user["UserName"], _endings(user, "user")
        statements = of(user, "User")
        for group in user.get("GroupList", ()):
            statements += groups.get(group, [])
            given = {"GroupName": group, "UserName": name}
            out, back = (
                _call("iam", operation, **given)
                for operation in ("remove_user_from_group", "add_user_to_group")
            )
            endings |= dict.fromkeys((s.origin for s in groups.get(group, [])), (out, back))
        yield _Principal(
            f"user {name}", user["Arn"], tuple(statements), boundary(user),
            {"aws:username": name, "aws:userid": user["UserId"], "aws:PrincipalAccount": account},
            Account(f"user {name}", AccountKind.ACCOUNT, True, seen.get(name)), endings,
        )  # fmt: skip
    for role in found.get("RoleDetailList", ()):
        used = role.get("RoleLastUsed", {}).get("LastUsedDate")
        name = f"role {role['RoleName']}"
        yield _Principal(
            name, role["Arn"], tuple(of(role, "Role")), boundary(role), {"aws:PrincipalAccount": account},
            Account(name, AccountKind.GROUP, None, used.isoformat() if used else None), _endings(role, "role"),
            tuple(_iam.statements(_document(role["AssumeRolePolicyDocument"]), "trust policy")),
        )  # fmt: skip


def _attached(policy: Mapping[str, Any]) -> str:
    """Two policies of one name differ in their path."""
    path = policy["PolicyArn"].partition(":policy/")[2]
    return f"attached policy {path}"


def _member(group: str) -> str:
    return f"member of group {group}"


def _endings(entry: Mapping[str, Any], kind: str) -> dict[str, _Calls]:
    """The calls that take a user's or role's own policies away, and that give them back."""
    named = {f"{kind.capitalize()}Name": entry[f"{kind.capitalize()}Name"]}
    found: dict[str, _Calls] = {}
    for policy in entry.get(f"{kind.capitalize()}PolicyList", ()):
        text = json.dumps(_document(policy["PolicyDocument"]))
        given = {**named, "PolicyName": policy["PolicyName"]}
        found[f"policy {policy['PolicyName']}"] = (
            _call("iam", f"delete_{kind}_policy", **given),
            _call("iam", f"put_{kind}_policy", **given, PolicyDocument=text),
        )
    for policy in entry.get("AttachedManagedPolicies", ()):
        given = {**named, "PolicyArn": policy["PolicyArn"]}
        found[_attached(policy)] = (
            _call("iam", f"detach_{kind}_policy", **given),
            _call("iam", f"attach_{kind}_policy", **given),
        )
    return found


def _last_seen(call: Call) -> dict[str, str]:
    """When each user last signed in to the console, as far as that is said."""
    try:
        users = call("iam", "list_users").get("Users", ())
    except DatasetError:
        return {}
    return {
        user["UserName"]: user["PasswordLastUsed"].isoformat()
        for user in users
        if user.get("PasswordLastUsed")
    }


def _ways(store: _Store, source: str) -> Iterator[_Way]:
    """Every way to objects of the bucket, or to deciding about them."""
    roles = {p.arn: p for p in store.principals if p.trust}
    yield _Way(source, "root of the account", "everything", "root of the account", Right.ADMINISTER)
    for principal in store.principals:
        yield from _of_principal(store, source, principal, principal.name, "")
    yield from _through_roles(store, source, roles)
    yield from _by_bucket_policy(store, source)
    yield from _by_list(store, source)


def _of_principal(
    store: _Store, source: str, principal: _Principal, account: str, before: str
) -> Iterator[_Way]:
    """What a user or role may do itself."""
    denials = [s for s in store.policy if not s.allows and _is_about(s, principal, store)]
    policies = [*principal.statements, *denials]
    bucket = store.arn
    asked = [
        *((action, right, store.objects) for action, right in _ACTIONS.items()),
        *((action, right, bucket) for action, right in _ON_BUCKET.items()),
        *((action, right, f"arn:{store.partition}:iam::{store.account}:*") for action, right in _ON_ACCOUNT.items()),
    ]  # fmt: skip
    for action, right, resource in asked:
        yield from _allowed(
            store, source, principal, account, before, policies, (action, right, resource)
        )
        if resource == store.objects or resource == bucket:
            # Their own account's bucket may name them: then it takes nothing else.
            own = [s for s in store.policy if s.allows and _names(s, principal)]
            yield from _allowed(
                store, source, principal, account, before, [*own, *denials, *(s for s in principal.statements if not s.allows)],
                (action, right, resource), by_bucket=True,
            )  # fmt: skip


def _allowed(
    store: _Store,
    source: str,
    principal: _Principal,
    account: str,
    before: str,
    policies: Sequence[_iam.Statement],
    asked: tuple[str, Right, str],
    by_bucket: bool = False,
) -> Iterator[_Way]:
    action, right, resource = asked
    # A boundary does not limit what a bucket's policy gives to a user by name.
    boundary = None if by_bucket and principal.arn.split(":")[-1].startswith("user/") else principal.boundary  # fmt: skip
    seen = set()
    for statement in _iam.allowed(policies, boundary, action, resource, principal.variables):
        for place in _places(statement, source, store, resource, principal.variables):
            if _iam.denied(policies, action, place[1], principal.variables):
                continue
            path = before + statement.origin + _remarks(statement, policies, action, principal)
            if (place[0], path) not in seen:
                seen.add((place[0], path))
                yield _Way(place[0], account, action, path, right, _ending(store, principal, statement) if not before else None, statement.origin)  # fmt: skip


def _places(
    statement: _iam.Statement,
    source: str,
    store: _Store,
    resource: str,
    variables: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """What a statement is about within a resource: as we name it, and as AWS does."""
    if resource != store.objects or statement.covers_all(resource, variables):
        yield source, resource
        return
    prefix = f"{store.arn}/"
    for pattern in statement.resources(variables):
        if not _iam.overlaps(pattern, resource):
            continue
        if pattern.startswith(prefix):
            yield f"{source}/{pattern.removeprefix(prefix)}", pattern
        else:
            # The bucket's name is itself part of a pattern: it is not known which objects remain.
            yield source, resource


def _remarks(
    statement: _iam.Statement,
    policies: Sequence[_iam.Statement],
    action: str,
    principal: _Principal,
) -> str:
    """A condition and exceptions, each told apart from others: a weaker one is another way."""
    remark = _condition(statement)
    denials = [s.document for s in policies if not s.allows and s.is_about_action(action)]
    return remark + (f", with exceptions [{_digest(denials)}]" if denials else "")


def _condition(statement: _iam.Statement) -> str:
    if not statement.is_conditional:
        return ""
    return f", under a condition [{_digest(statement.document['Condition'])}]"


def _digest(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _is_about(statement: _iam.Statement, principal: _Principal, store: _Store) -> bool:
    """Whether a denial of the bucket's policy certainly counts for a user or role of the account."""
    named = statement.principals()
    if named is None:
        excepted = statement.excepted()
        return not any(_same_principal(text, principal, store) for text in excepted)
    return any(_same_principal(text, principal, store) for text in named)


def _same_principal(text: str, principal: _Principal, store: _Store) -> bool:
    if text == "*" or text == principal.arn:
        return True
    return text in (store.account, f"arn:{store.partition}:iam::{store.account}:root")


def _names(statement: _iam.Statement, principal: _Principal) -> bool:
    """Whether a bucket's policy allows something to a user or role of the account by name; everybody is listed once."""
    return principal.arn in (statement.principals() or ())


def _through_roles(store: _Store, source: str, roles: Mapping[str, _Principal]) -> Iterator[_Way]:
    """What somebody may do who assumes a role, and from it perhaps another."""
    assumed: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for role in roles.values():
        for account, words in _who_assumes(store, role):
            assumed[account].append((role.arn, words))
    for account in sorted(assumed):
        if account.startswith("role "):
            continue
        seen: dict[str, str] = {}
        waiting = [(arn, words) for arn, words in assumed[account]]
        for arn, words in waiting:
            if arn in seen:
                continue
            seen[arn] = words
            waiting += [(other, f"{words}{more}") for other, more in assumed[roles[arn].name]]
        for arn, words in seen.items():
            yield from _of_principal(store, source, roles[arn], account, words)


def _who_assumes(store: _Store, role: _Principal) -> Iterator[tuple[str, str]]:
    """Who may assume a role, and in which words."""
    words = f"assumes {role.name}, "
    for statement in role.trust:
        if not statement.allows:
            continue
        kinds = statement.document.get("Principal", {})
        kinds = {"AWS": kinds} if isinstance(kinds, str) else kinds
        condition = (
            f"{_condition(statement).removeprefix(', ')}, " if statement.is_conditional else ""
        )
        if "NotPrincipal" in statement.document:
            # Everybody but some.
            yield _EVERY_ACCOUNT, words + condition
            continue
        for kind, named in kinds.items():
            for text in _iam.texts(named):
                if kind != "AWS":
                    yield f"{kind.lower()} {text}", words + condition
                elif text in (
                    store.account,
                    f"arn:{store.partition}:iam::{store.account}:root",
                    "*",
                ):
                    # Whoever of the account is allowed to by their own policies.
                    for other in store.principals:
                        if other is not role and _may_assume(other, role):
                            yield other.name, words + condition
                    if text == "*":
                        yield _EVERY_ACCOUNT, words + condition
                else:
                    known = next(
                        (p.name for p in store.principals if p.arn in (text, _of_session(text))),
                        None,
                    )
                    yield known or f"outside {text}", words + condition


def _of_session(arn: str) -> str:
    """The role of a session that a policy names."""
    found = re.fullmatch(r"arn:([^:]+):sts::([0-9]*):assumed-role/([^/]+)/.*", arn)
    return f"arn:{found[1]}:iam::{found[2]}:role/{found[3]}" if found else arn


def _may_assume(principal: _Principal, role: _Principal) -> bool:
    found = _iam.allowed(
        principal.statements, principal.boundary, "sts:AssumeRole", role.arn, principal.variables
    )
    return any(True for _ in found)


def _by_bucket_policy(store: _Store, source: str) -> Iterator[_Way]:
    """What the bucket's policy gives to others than its account's users and roles."""
    own = {p.arn for p in store.principals}
    for statement in store.policy:
        if not statement.allows:
            continue
        named = statement.principals()
        # Allowing everybody except some is allowing everybody.
        for text in ["*"] if named is None else named:
            if text in own or text in (
                store.account,
                f"arn:{store.partition}:iam::{store.account}:root",
            ):
                continue
            everybody = text == "*"
            account = _EVERYBODY if everybody else f"outside {text}"
            if everybody and store.blocks.get("RestrictPublicBuckets"):
                account = "everybody in the account"
            yield from _by_statement(store, source, statement, account)


def _by_statement(
    store: _Store, source: str, statement: _iam.Statement, account: str
) -> Iterator[_Way]:
    bucket = store.arn
    asked = [
        *((action, right, store.objects) for action, right in _ACTIONS.items()),
        *((action, right, bucket) for action, right in _ON_BUCKET.items()),
    ]
    # A denial takes away from somebody outside only what it takes from everybody.
    denials = [s for s in store.policy if not s.allows and s.principals() is not None and "*" in (s.principals() or ())]  # fmt: skip
    for action, right, resource in asked:
        for found in _iam.allowed([statement, *denials], None, action, resource, {}):
            for place, arn in _places(found, source, store, resource, {}):
                if _iam.denied(denials, action, arn, {}):
                    continue
                words = "bucket policy" + _condition(found)
                yield _Way(place, account, action, words, right, _without(store, found))


def _by_list(store: _Store, source: str) -> Iterator[_Way]:
    if not store.lists_count:
        return
    for grant in store.listed:
        grantee = grant["Grantee"]
        if grantee.get("ID") == store.owner and store.owner is not None:
            continue
        group = _GROUPS.get(grantee.get("URI", ""))
        if group is not None and store.blocks.get("IgnorePublicAcls"):
            continue
        account = group or f"outside {grantee.get('ID') or grantee.get('EmailAddress') or grantee.get('URI')}"  # fmt: skip
        words = _OF_LIST.get(grant["Permission"])
        if words is not None:
            yield _Way(source, account, words[0], "access control list of the bucket", words[1])


def _outside(name: str) -> Account:
    """An account that is not one of the users or roles that were read."""
    if name in (_EVERYBODY, _EVERY_ACCOUNT, "everybody in the account"):
        return Account(name, AccountKind.EVERYBODY)
    if name.startswith(("service ", "root ")):
        return Account(name)
    return Account(name, AccountKind.OUTSIDE)


def _call(service: str, operation: str, **parameters: Any) -> Mapping[str, Any]:
    return {"service": service, "operation": operation, "parameters": parameters}


def _without(store: _Store, statement: _iam.Statement) -> _Calls:
    """A statement is taken out of the bucket's policy, as that is then; and put back."""
    given = {"Bucket": store.bucket, "Statement": statement.document}
    return _call("s3", _TAKE_OUT, **given), _call("s3", _PUT_BACK, **given)


def _change_policy(call: Call, operation: str, bucket: str, statement: Any) -> None:
    """Change one statement of a bucket's policy, and nothing else of it."""
    try:
        text = call("s3", "get_bucket_policy", Bucket=bucket)["Policy"]
    except _NotThere:
        text = '{"Version": "2012-10-17", "Statement": []}'
    document = json.loads(text)
    listed = document.get("Statement", [])
    listed = [listed] if isinstance(listed, dict) else listed
    kept = [s for s in listed if s != statement]
    if operation == _PUT_BACK:
        kept.append(statement)
    if kept:
        call("s3", "put_bucket_policy", Bucket=bucket, Policy=json.dumps({**document, "Statement": kept}))  # fmt: skip
    else:
        call("s3", "delete_bucket_policy", Bucket=bucket)


def _ending(store: _Store, principal: _Principal, statement: _iam.Statement) -> _Calls | None:
    """What takes away what a statement gives."""
    if statement.origin == "bucket policy":
        return _without(store, statement)
    of_same = [s for s in principal.statements if s.origin == statement.origin]
    if any(not s.allows for s in of_same):
        # With it would end what it denies: something else would begin.
        return None
    return principal.endings.get(statement.origin)
