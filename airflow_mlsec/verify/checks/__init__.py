"""What each transform can produce, as defined by the checker itself. Each file contains the check of one transform.

A check uses the keys of a policy and SQL, and none of the code that makes a release. May import `verify._check`.
"""
