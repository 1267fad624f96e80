"""What can be done to a column: one file is one transform.

A file has its class (`policy.Transform`), whose fields are its keys in a policy, and whose `apply` does it; files that
begin with an underscore are what they work with. Each has an entry point in ``pyproject.toml``, and a check of its name
in `verify.checks`. May import `hierarchies`, `codes`, `values`, `policy` and below.
"""
