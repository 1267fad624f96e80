"""Who can reach a bucket, on moto's AWS, compared with what that AWS really lets each user do."""

from __future__ import annotations

import fnmatch
import json
import os
import random
import re
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from airflow_mlsec.access import (
    AccountKind,
    Collected,
    Right,
    canonical_source,
    collect,
    collector_of,
    read_grants,
)
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.errors import DatasetError, UnsupportedDataset, UsageError

SOURCE = "s3://lake"
ACCOUNT = "123456789012"


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str | list[str], resource: str | list[str], **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: str | list[str], resource: str | list[str], **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


@pytest.fixture
def iam(lake_bucket: Any) -> Any:
    return boto3.client("iam")


def found() -> Collected:
    return collect(SOURCE, EnvironmentConnections())


def of(account: str, right: Right | None = None) -> set[tuple[str, str, str]]:
    return {
        # Without the digests of conditions and exceptions.
        (e.resource, e.permission, re.sub(r" \[[0-9a-f]{8}\]", "", e.path))
        for e in found().entitlements
        if e.account == account and right in (None, e.right)
    }


def test_a_users_own_attached_and_groups_policies_count(iam: Any) -> None:
    for name in ("anna", "ben", "cleo", "dora"):
        iam.create_user(UserName=name)
    read = allow("s3:GetObject", "arn:aws:s3:::lake/*")
    iam.put_user_policy(UserName="anna", PolicyName="own", PolicyDocument=policy(read))
    arn = iam.create_policy(PolicyName="readers", PolicyDocument=policy(allow("s3:Get*", "arn:aws:s3:::lake/health/*")))["Policy"]["Arn"]  # fmt: skip
    iam.attach_user_policy(UserName="ben", PolicyArn=arn)
    iam.create_group(GroupName="data")
    iam.put_group_policy(
        GroupName="data", PolicyName="all", PolicyDocument=policy(allow("s3:*", "*"))
    )
    iam.add_user_to_group(GroupName="data", UserName="cleo")
    assert of("user anna") == {(SOURCE, "s3:GetObject", "policy own")}
    assert (f"{SOURCE}/health/*", "s3:GetObject", "attached policy readers") in of("user ben")
    assert {p for _, p, _ in of("user ben")} == {"s3:GetObject", "s3:GetObjectVersion"}
    assert (SOURCE, "s3:PutBucketPolicy", "member of group data, policy all") in of("user cleo")
    assert of("user dora") == set()
    assert of("root of the account") == {(SOURCE, "everything", "root of the account")}


def test_a_denial_and_a_boundary_take_away(iam: Any) -> None:
    for name in ("anna", "ben", "cleo"):
        iam.create_user(UserName=name)
    both = policy(
        allow("s3:*", "arn:aws:s3:::lake/*"),
        deny("s3:GetObject", "arn:aws:s3:::*"),
        deny("s3:PutObject", "arn:aws:s3:::lake/raw/*"),
    )
    iam.put_user_policy(UserName="anna", PolicyName="p", PolicyDocument=both)
    assert {p for _, p, _ in of("user anna", Right.READ)} == {"s3:GetObjectVersion"}
    # Denied on a part: it may still write elsewhere.
    assert (SOURCE, "s3:PutObject", "policy p, with exceptions") in of("user anna")
    conditional = policy(
        allow("s3:GetObject", "arn:aws:s3:::lake/*"),
        deny("s3:GetObject", "*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "false"}}),
    )
    iam.put_user_policy(UserName="ben", PolicyName="p", PolicyDocument=conditional)
    assert of("user ben", Right.READ) == {(SOURCE, "s3:GetObject", "policy p, with exceptions")}
    # moto keeps boundaries of roles only.
    anyone = policy({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/cleo"}, "Action": "sts:AssumeRole"})  # fmt: skip
    limit = iam.create_policy(PolicyName="limit", PolicyDocument=policy(allow("s3:PutObject", "*")))["Policy"]["Arn"]  # fmt: skip
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=anyone, PermissionsBoundary=limit)
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=policy(allow("s3:*", "*")))
    assert of("user cleo") == {(SOURCE, "s3:PutObject", "assumes role r, policy p")}


def test_variables_notaction_and_notresource(iam: Any) -> None:
    for name in ("anna", "ben", "cleo"):
        iam.create_user(UserName=name)
    iam.put_user_policy(UserName="anna", PolicyName="home", PolicyDocument=policy(allow("s3:GetObject", "arn:aws:s3:::lake/home/${aws:username}/*")))  # fmt: skip
    assert of("user anna") == {(f"{SOURCE}/home/anna/*", "s3:GetObject", "policy home")}
    everything_but = {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}
    iam.put_user_policy(UserName="ben", PolicyName="p", PolicyDocument=policy(everything_but))
    assert (SOURCE, "s3:GetObject", "policy p") in of("user ben")
    assert not any(p.startswith("iam:") for _, p, _ in of("user ben"))
    elsewhere = {"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::lake/*"}
    iam.put_user_policy(UserName="cleo", PolicyName="p", PolicyDocument=policy(elsewhere))
    assert {p for _, p, _ in of("user cleo")} >= {"s3:PutBucketPolicy", "s3:PutBucketAcl"}
    assert not any("Object" in p for _, p, _ in of("user cleo"))


def test_whoever_gives_themselves_permissions_has_them(iam: Any) -> None:
    iam.create_user(UserName="anna")
    iam.put_user_policy(UserName="anna", PolicyName="p", PolicyDocument=policy(allow("iam:PutUserPolicy", "*")))  # fmt: skip
    assert of("user anna") == {(SOURCE, "iam:PutUserPolicy", "policy p")}


def test_roles_are_assumed_one_after_another(iam: Any) -> None:
    for name in ("anna", "ben", "cleo"):
        iam.create_user(UserName=name)

    def trust(principal: Any, **more: Any) -> str:
        return policy(
            {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}
        )

    iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/hop"}))  # fmt: skip
    iam.put_role_policy(RoleName="reader", PolicyName="r", PolicyDocument=policy(allow("s3:GetObject", "arn:aws:s3:::lake/*")))  # fmt: skip
    iam.create_role(RoleName="hop", AssumeRolePolicyDocument=trust({"AWS": [f"arn:aws:iam::{ACCOUNT}:user/anna", "arn:aws:iam::999999999999:root"]}))  # fmt: skip
    iam.create_role(RoleName="any", AssumeRolePolicyDocument=trust({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}))  # fmt: skip
    iam.put_role_policy(RoleName="any", PolicyName="w", PolicyDocument=policy(allow("s3:PutObject", "arn:aws:s3:::lake/in/*")))  # fmt: skip
    iam.put_user_policy(UserName="ben", PolicyName="p", PolicyDocument=policy(allow("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/*")))  # fmt: skip
    iam.create_role(
        RoleName="job", AssumeRolePolicyDocument=trust({"Service": "ec2.amazonaws.com"})
    )
    iam.put_role_policy(RoleName="job", PolicyName="w", PolicyDocument=policy(allow("s3:PutObject", "arn:aws:s3:::lake/*")))  # fmt: skip
    way = "assumes role hop, assumes role reader, policy r"
    assert of("user anna") == {(SOURCE, "s3:GetObject", way)}
    assert of("user ben") == {(f"{SOURCE}/in/*", "s3:PutObject", "assumes role any, policy w")}
    assert of("user cleo") == set()
    outside = "outside arn:aws:iam::999999999999:root"
    assert of(outside) == {(SOURCE, "s3:GetObject", way)}
    assert of("service ec2.amazonaws.com") == {
        (SOURCE, "s3:PutObject", "assumes role job, policy w")
    }
    kinds = {a.name: a.kind for a in found().accounts}
    assert kinds[outside] is AccountKind.OUTSIDE
    assert kinds["role reader"] is AccountKind.GROUP


def test_a_buckets_policy_lists_and_blocks(iam: Any, lake_bucket: Any) -> None:
    iam.create_user(UserName="anna")
    everybody = allow("s3:GetObject", "arn:aws:s3:::lake/public/*", Principal="*")
    named = allow("s3:PutObject", "arn:aws:s3:::lake/*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/anna"})  # fmt: skip
    foreign = allow("s3:GetObject", "arn:aws:s3:::lake/*", Principal={"AWS": "999999999999"})
    excepted = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::lake/*",
                "NotPrincipal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/anna"}}  # fmt: skip
    lake_bucket.put_bucket_policy(Bucket="lake", Policy=policy(everybody, named, foreign, excepted))
    assert of("everybody") == {(f"{SOURCE}/public/*", "s3:GetObject", "bucket policy")}
    assert of("outside 999999999999") == {(SOURCE, "s3:GetObject", "bucket policy")}
    assert of("user anna") == {(SOURCE, "s3:PutObject", "bucket policy")}
    blocks = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)  # fmt: skip
    lake_bucket.put_public_access_block(Bucket="lake", PublicAccessBlockConfiguration=blocks)
    assert of("everybody") == set()
    assert of("everybody in the account") == {
        (f"{SOURCE}/public/*", "s3:GetObject", "bucket policy")
    }


def test_a_list_counts_unless_it_is_switched_off(iam: Any, lake_bucket: Any) -> None:
    assert any("single objects" in text for text in found().unread)
    lake_bucket.put_bucket_acl(Bucket="lake", ACL="public-read")
    path = "access control list of the bucket"
    assert of("everybody") == {(SOURCE, "list objects", path)}
    lake_bucket.put_bucket_ownership_controls(
        Bucket="lake", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    assert of("everybody") == set()
    assert not any("single objects" in text for text in found().unread)


def test_a_dataset_is_concerned_by_whatever_reaches_a_part_of_it(iam: Any) -> None:
    s3, none = collector_of(SOURCE), EnvironmentConnections({})
    for resource, location, concerned in (
        ("s3://lake", "s3://lake/health/x.parquet", True),
        ("s3://lake/health/*", "s3://lake/health/x.parquet", True),
        ("s3://lake/health/*", "s3://lake/health", True),
        ("s3://lake/health/x.parquet", "s3a://lake/health/", True),
        ("s3://lake/*.csv", "s3://lake/health", True),
        ("s3://lake/raw/*", "s3://lake/health/x.parquet", False),
        ("s3://lake", "s3://other/health/x.parquet", False),
        ("s3://lake", "s3://conn@lake/x.parquet", False),
        ("s3://lake", "/lake/x.parquet", False),
    ):
        assert bool(s3.concerned({resource}, location, none)) is concerned, (resource, location)
    assert s3.source_of("s3a://conn@lake/x/y", none) == "s3://conn@lake"
    assert s3.source_of("/tmp/x", none) is None
    with pytest.raises(UsageError, match="CONN@BUCKET"):
        s3.canonical("s3://lake/x", none)


def test_what_is_taken_away_can_be_given_back(iam: Any, lake_bucket: Any) -> None:
    for name in ("anna", "ben", "cleo"):
        iam.create_user(UserName=name)
    read = policy(allow("s3:GetObject", "arn:aws:s3:::lake/*"))
    iam.put_user_policy(UserName="anna", PolicyName="own", PolicyDocument=read)
    arn = iam.create_policy(PolicyName="readers", PolicyDocument=read)["Policy"]["Arn"]
    iam.attach_user_policy(UserName="ben", PolicyArn=arn)
    iam.create_group(GroupName="data")
    iam.put_group_policy(GroupName="data", PolicyName="all", PolicyDocument=policy(allow(["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::lake/*")))  # fmt: skip
    iam.add_user_to_group(GroupName="data", UserName="cleo")
    lake_bucket.put_bucket_policy(
        Bucket="lake", Policy=policy(allow("s3:GetObject", "arn:aws:s3:::lake/public/*", Principal="*"))
    )  # fmt: skip
    s3, connections = collector_of(SOURCE), EnvironmentConnections()
    before = found().entitlements
    asked = [
        e for e in before if e.permission == "s3:GetObject" and not e.account.startswith("root")
    ]
    assert [e.account for e in asked] == ["everybody", "user anna", "user ben", "user cleo"] or len(
        asked
    ) == 4
    changes = s3.withdraw(SOURCE, asked, connections)
    assert all(change is not None for change in changes)
    of_cleo = next(c for e, c in zip(asked, changes, strict=True) if e.account == "user cleo")
    assert of_cleo is not None
    assert [e.permission for e in of_cleo.also] == ["s3:PutObject"]
    for change in changes:
        assert change is not None
        s3.apply(SOURCE, [change.do], connections)
    assert {e.account for e in found().entitlements} == {"root of the account"}
    for change in changes:
        assert change is not None
        assert change.undo is not None
        s3.apply(SOURCE, [change.undo], connections)
    assert found().entitlements == before
    root = [e for e in before if e.account == "root of the account"]
    assert s3.withdraw(SOURCE, root, connections) == [None]
    with pytest.raises(UsageError, match="not a change of ours"):
        s3.apply(SOURCE, [json.dumps({"service": "s3", "operation": "delete_object", "parameters": {}})], connections)  # fmt: skip


def test_what_cannot_be_read_is_said(iam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="NoSuchBucket"):
        collect("s3://nowhere", EnvironmentConnections())
    # Where the rest of AWS is not: a store of another maker.
    monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    read = found()
    assert not read.is_complete
    assert any(text.startswith("users, groups and roles:") for text in read.unread)


_KEYS = ("a/x", "a/y", "b/x", "c")
_DONE = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")


def _random_policy(chance: random.Random) -> str:
    """Of statements about some actions on some objects."""
    resources = ["*", "arn:aws:s3:::lake/*", "arn:aws:s3:::lake/a/*", "arn:aws:s3:::lake/b/x", "arn:aws:s3:::la*/?", "arn:aws:s3:::other/*"]  # fmt: skip
    actions = ["s3:*", "s3:Get*", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "*", "iam:*"]
    made = []
    for _ in range(chance.randint(1, 3)):
        statement = {"Effect": chance.choice(["Allow", "Allow", "Deny"])}
        statement["Action"] = chance.sample(actions, chance.randint(1, 2))
        statement["Resource"] = chance.sample(resources, chance.randint(1, 2))
        made.append(statement)
    return policy(*made)


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 12))])  # fmt: skip
def test_aws_agrees(iam: Any, seed: int) -> None:
    """Whatever a user can really do is listed, and whatever is listed without exceptions can really be done."""
    chance, users = random.Random(seed), [f"u{n}" for n in range(8)]
    iam.create_group(GroupName="g")
    iam.put_group_policy(GroupName="g", PolicyName="p", PolicyDocument=_random_policy(chance))
    keys = {}
    for user in users:
        iam.create_user(UserName=user)
        for name in range(chance.randint(0, 2) if user != "u0" else 1):
            own = policy(allow("s3:*", "arn:aws:s3:::lake/b/*"))
            document = own if user == "u0" else _random_policy(chance)
            iam.put_user_policy(UserName=user, PolicyName=f"p{name}", PolicyDocument=document)
        if chance.random() < 0.3:
            iam.add_user_to_group(GroupName="g", UserName=user)
        keys[user] = iam.create_access_key(UserName=user)["AccessKey"]
    entitlements = found().entitlements
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    httpx.post(f"{endpoint}/moto-api/reset-auth", content="0").raise_for_status()
    try:
        real = {
            (user, action, key)
            for user, secret in keys.items()
            for action, key in _allowed_by_aws(secret)
        }
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content="Infinity").raise_for_status()
    assert real

    def reaches(resource: str, key: str) -> bool:
        return fnmatch.fnmatchcase(f"{SOURCE}/{key}", resource if "/" in resource.removeprefix("s3://") else f"{resource}/*")  # fmt: skip

    listed, certain = set(), set()
    for e in entitlements:
        for key in _KEYS:
            if e.permission in _DONE and e.account.startswith("user ") and reaches(e.resource, key):
                did = (e.account.removeprefix("user "), e.permission, key)
                listed.add(did)
                if "with exceptions" not in e.path:
                    certain.add(did)
    assert real <= listed
    assert certain <= real


def _allowed_by_aws(secret: dict[str, str]) -> set[tuple[str, str]]:
    client = boto3.client(
        "s3", aws_access_key_id=secret["AccessKeyId"], aws_secret_access_key=secret["SecretAccessKey"]
    )  # fmt: skip
    asked = {"s3:PutObject": client.put_object, "s3:GetObject": client.get_object, "s3:DeleteObject": client.delete_object}  # fmt: skip
    done = set()
    for action, call in asked.items():
        for key in _KEYS:
            try:
                call(Bucket="lake", Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] == "AccessDenied":
                    continue
            done.add((action, key))
    return done


def test_a_review_of_a_location_in_a_bucket(iam: Any, lake_bucket: Any) -> None:
    iam.create_user(UserName="anna")
    read = policy(allow("s3:GetObject", "arn:aws:s3:::lake/health/*"))
    iam.put_user_policy(UserName="anna", PolicyName="own", PolicyDocument=read)
    with pytest.raises(UnsupportedDataset, match="only be read in part"):
        read_grants("s3://lake/health/x.parquet", EnvironmentConnections())
    owner = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    lake_bucket.put_bucket_ownership_controls(Bucket="lake", OwnershipControls=owner)
    found = read_grants("s3://lake/health/x.parquet", EnvironmentConnections())
    assert {grant.principal for grant in found} == {"user anna", "root of the account"}
    assert {g.principal for g in read_grants("s3://lake/raw/x.parquet", EnvironmentConnections())} == {"root of the account"}  # fmt: skip


# --- what an attacker has found


@pytest.mark.parametrize(
    "statements",
    [
        [deny("s3:*", "arn:aws:s3:::${aws:PrincipalTag/bucket}/*")],
        [deny("s3:*", "arn:aws:s3:::lake/${aws:PrincipalTag/own}*")],
        [deny("s3:*", "arn:aws:s3:::lake/${*}")],
    ],
)
def test_a_denial_of_what_is_not_known_takes_nothing_away(iam: Any, statements: list[Any]) -> None:
    iam.create_user(UserName="anna")
    made = policy(allow("s3:GetObject", "arn:aws:s3:::lake/*"), *statements)
    iam.put_user_policy(UserName="anna", PolicyName="p", PolicyDocument=made)
    assert (SOURCE, "s3:GetObject", "policy p, with exceptions") in of("user anna")
    except_own = {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn:aws:s3:::lake/${aws:PrincipalTag/own}*"}  # fmt: skip
    iam.put_user_policy(UserName="anna", PolicyName="p", PolicyDocument=policy(except_own))
    assert {p for _, p, _ in of("user anna")} == {"s3:GetObject"}


def test_another_condition_is_another_way(iam: Any) -> None:
    iam.create_user(UserName="anna")

    def path(network: str) -> set[str]:
        condition = {"IpAddress": {"aws:SourceIp": network}}
        made = policy(allow("s3:GetObject", "arn:aws:s3:::lake/*", Condition=condition))
        iam.put_user_policy(UserName="anna", PolicyName="p", PolicyDocument=made)
        return {e.path for e in found().entitlements if e.account == "user anna"}

    assert path("10.0.0.1/32") != path("0.0.0.0/0")


def test_each_statement_of_a_buckets_policy_ends_for_itself(iam: Any, lake_bucket: Any) -> None:
    one = allow("s3:GetObject", "arn:aws:s3:::lake/*", Principal={"AWS": "111111111111"})
    two = allow("s3:GetObject", "arn:aws:s3:::lake/*", Principal={"AWS": "222222222222"})
    lake_bucket.put_bucket_policy(Bucket="lake", Policy=policy(one, two))
    s3, none = collector_of(SOURCE), EnvironmentConnections()
    asked = [e for e in found().entitlements if e.account.startswith("outside")]
    first, second = s3.withdraw(SOURCE, asked, none)
    assert first is not None
    assert second is not None
    assert first.undo is not None
    for change in (first, second):
        s3.apply(SOURCE, [change.do], none)
    assert not [e for e in found().entitlements if e.account.startswith("outside")]
    # What an administrator adds meanwhile stays.
    lake_bucket.put_bucket_policy(Bucket="lake", Policy=policy(deny("s3:GetObject", "arn:aws:s3:::lake/raw/*", Principal="*")))  # fmt: skip
    s3.apply(SOURCE, [first.undo], none)
    assert {e.account for e in found().entitlements if e.account.startswith("outside")} == {asked[0].account}  # fmt: skip
    assert "lake/raw" in lake_bucket.get_bucket_policy(Bucket="lake")["Policy"]


def test_what_else_a_policy_gives_is_said_and_what_it_denies_is_not_ended(iam: Any) -> None:
    for name in ("anna", "ben", "cleo"):
        iam.create_user(UserName=name)
    broad = policy(allow("s3:GetObject", "arn:aws:s3:::lake/*"), allow("dynamodb:*", "arn:aws:dynamodb:::table/x"))  # fmt: skip
    iam.put_user_policy(UserName="anna", PolicyName="p", PolicyDocument=broad)
    with_denial = policy(allow("s3:GetObject", "arn:aws:s3:::lake/*"), deny("s3:PutObject", "arn:aws:s3:::lake/secret/*"))  # fmt: skip
    iam.put_user_policy(UserName="ben", PolicyName="p", PolicyDocument=with_denial)
    read = policy(allow("s3:GetObject", "arn:aws:s3:::lake/*"))
    for path in ("/a/", "/b/"):
        arn = iam.create_policy(PolicyName="readers", Path=path, PolicyDocument=read)["Policy"][
            "Arn"
        ]
        iam.attach_user_policy(UserName="cleo", PolicyArn=arn)
    s3, none = collector_of(SOURCE), EnvironmentConnections()
    asked = [e for e in found().entitlements if e.account != "root of the account"]
    changes = dict(zip(asked, s3.withdraw(SOURCE, asked, none), strict=True))
    [of_anna] = [c for e, c in changes.items() if e.account == "user anna"]
    assert of_anna is not None
    assert [(e.permission, e.resource) for e in of_anna.also] == [("dynamodb:*", "arn:aws:dynamodb:::table/x")]  # fmt: skip
    assert [c for e, c in changes.items() if e.account == "user ben"] == [None]
    of_cleo = [c for e, c in changes.items() if e.account == "user cleo" and c is not None]
    assert len({c.do for c in of_cleo}) == 2
    for change in of_cleo:
        s3.apply(SOURCE, [change.do], none)
    assert of("user cleo") == set()


def test_trust_in_all_but_some_and_in_a_session(iam: Any) -> None:
    iam.create_user(UserName="anna")
    assume = {"Effect": "Allow", "Action": "sts:AssumeRole"}
    read = policy(allow("s3:GetObject", "arn:aws:s3:::lake/*"))
    for name, principal in (
        ("open", {"NotPrincipal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/ben"}}),
        ("hop", {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/anna"}}),
        ("end", {"Principal": {"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/hop/session"}}),
    ):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy({**assume, **principal}))
    iam.put_role_policy(RoleName="open", PolicyName="r", PolicyDocument=read)
    iam.put_role_policy(RoleName="end", PolicyName="r", PolicyDocument=read)
    assert of("every AWS account") == {(SOURCE, "s3:GetObject", "assumes role open, policy r")}
    assert (SOURCE, "s3:GetObject", "assumes role hop, assumes role end, policy r") in of("user anna")  # fmt: skip


def test_whoever_changes_iam_or_the_bucket_reaches_it(iam: Any) -> None:
    actions = ["iam:PassRole", "iam:CreateAccessKey", "iam:UpdateAssumeRolePolicy", "iam:AddUserToGroup", "s3:DeleteBucketPolicy", "s3:PutReplicationConfiguration"]  # fmt: skip
    for number, action in enumerate(actions):
        iam.create_user(UserName=f"u{number}")
        iam.put_user_policy(UserName=f"u{number}", PolicyName="p", PolicyDocument=policy(allow(action, "*")))  # fmt: skip
    entitlements = found().entitlements
    for number, action in enumerate(actions):
        assert {(e.permission, e.right) for e in entitlements if e.account == f"user u{number}"} == {(action, Right.ADMINISTER)}  # fmt: skip


def test_a_long_name_takes_no_long_time(iam: Any) -> None:
    iam.create_user(UserName="anna")
    long = "arn:aws:s3:::lake/" + "a*b" * 300
    iam.put_user_policy(UserName="anna", PolicyName="p", PolicyDocument=policy(allow("s3:GetObject", long)))  # fmt: skip
    assert {p for _, p, _ in of("user anna")} == {"s3:GetObject"}


def test_a_source_with_a_password_is_refused_without_it() -> None:
    for source in ("postgresql://u:hunter2@host/db", "mysql://u:hunter2@host", "s3://k:hunter2@b"):
        with pytest.raises(UsageError) as caught:
            canonical_source(source, EnvironmentConnections({}))
        assert "hunter2" not in str(caught.value)
