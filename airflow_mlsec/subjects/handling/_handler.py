"""All actions for a request, in one class."""

from __future__ import annotations

from airflow_mlsec.ledger import Reason
from airflow_mlsec.subjects.handling import (
    _closing,
    _confirming,
    _erasing,
    _locating,
    _looking_again,
    _recipients,
)
from airflow_mlsec.subjects.handling._recipients import Mail
from airflow_mlsec.subjects.handling._work import Work
from airflow_mlsec.subjects.requests._request import Request, Step


class Handler(Work):
    """Works on requests, with a register, keys and connections, on behalf of an actor."""

    def locate(self, identifier: int) -> Request:
        """See `_locating.locate`."""
        with self.doing():
            return _locating.locate(self, identifier)

    def look(self, identifier: int) -> Request:
        """See `_locating.look`."""
        with self.doing():
            return _locating.look(self, identifier)

    def confirm(self, identifier: int, name: str, column: str, reason: str) -> Request:
        """See `_confirming.confirm`."""
        with self.doing():
            return _confirming.confirm(self, identifier, name, column, reason)

    def prepare(self, identifier: int) -> Request:
        """See `_erasing.prepare`."""
        with self.doing():
            return _erasing.prepare(self, identifier)

    def order(self, request: Request) -> list[Step]:
        """See `_erasing.order`."""
        with self.doing():
            return _erasing.order(self, request)

    def erase_place(self, identifier: int, step_id: int) -> Request:
        """See `_erasing.erase_place`."""
        with self.doing():
            return _erasing.erase_place(self, identifier, step_id)

    def erase(self, identifier: int) -> Request:
        """See `_erasing.erase`."""
        with self.doing():
            return _erasing.erase(self, identifier)

    def notify(self, identifier: int, mail: Mail | None = None) -> Request:
        """See `_recipients.notify`."""
        with self.doing():
            return _recipients.notify(self, identifier, mail)

    def verify(self, identifier: int) -> dict[str, Reason]:
        """See `_looking_again.verify`."""
        with self.doing():
            return _looking_again.verify(self, identifier)

    def close(self, identifier: int) -> tuple[Request, str | None]:
        """See `_closing.close`."""
        with self.doing():
            return _closing.close(self, identifier)

    def changed_uris(self, request: Request) -> list[str]:
        """See `_closing.changed_uris`."""
        with self.doing():
            return _closing.changed_uris(self, request)
