"""Alembic migrations of the register; `Register.upgrade` runs them."""
