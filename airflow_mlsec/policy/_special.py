"""Special categories of data (GDPR Art. 9(1)), in the Fideslang taxonomy."""

from __future__ import annotations

# Each with all that is below it.
_SPECIAL = (
    "user.biometric", "user.authorization.biometric", "user.health_and_medical", "user.demographic.political_opinion",
    "user.demographic.race_ethnicity", "user.demographic.religious_belief", "user.demographic.sexual_orientation",
)  # fmt: skip


def is_special(category: str | None) -> bool:
    """Whether data of a category may only be processed under a condition of Art. 9(2)."""
    return category is not None and any(
        category == kind or category.startswith(f"{kind}.") for kind in _SPECIAL
    )


def may_be_special(category: str | None) -> bool:
    """Whether a category is so wide that such data may be in it: ``user.demographic`` does not say which."""
    return category is not None and any(kind.startswith(f"{category}.") for kind in _SPECIAL)
