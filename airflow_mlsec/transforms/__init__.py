"""The transforms of columns: one file per transform.

A file contains a class (`policy.Transform`), whose fields are its keys in a policy and whose `apply` does the work;
files that begin with an underscore contain shared code. Each transform has an entry point in ``pyproject.toml``, and a
check of the same name in `verify.checks`. May import `hierarchies`, `codes`, `values`, `policy` and below.
"""
