"""What each transform can produce, in the checker's own words. One file is the check of one transform.

A check knows the keys of a policy and SQL, and nothing of the code that makes a release. May import `verify._check`.
"""
