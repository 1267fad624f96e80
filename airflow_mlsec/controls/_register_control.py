"""Controls that are asked about everything that the register knows at once."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Any

from airflow_mlsec.controls._control import Answer, Control
from airflow_mlsec.controls._facts import Facts


class RegisterControl(Control, abstract=True):
    """Base of controls that are asked about every asset of their kind at once.

    :raises TypeError: when a subclass is defined that has no answers.
    """

    def __init_subclass__(cls, abstract: bool = False, **more: Any) -> None:
        super().__init_subclass__(abstract=abstract, **more)
        if not abstract and cls.answers is RegisterControl.answers:
            raise TypeError(f"control {cls.__name__} has no answers")

    @abc.abstractmethod
    def answers(self, facts: Facts) -> Iterable[tuple[str, Answer]]:
        """The name of each asset, and whether the rule holds for it. An error counts as the answer unknown for all of
        them."""
