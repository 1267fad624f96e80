"""The HTTP routes. Each of them authenticates the caller; a test walks the router."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse

import airflow_mlsec.hooks.mlsec  # noqa: F401 - a key ring in a bucket is reached by Airflow's connections
from airflow_mlsec.errors import MlsecError, UsageError
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.plugin._access import granted_user, signed_in_user
from airflow_mlsec.plugin._map import personal_data_map
from airflow_mlsec.plugin._requests import all_requests, one_request
from airflow_mlsec.settings import Settings


@lru_cache(maxsize=1)
def application() -> FastAPI:
    """The application that the plugin mounts at ``/mlsec``."""
    # The dependency is set on the application, so that a route added later is protected as well.
    # No documentation routes: they would be added outside it.
    app = FastAPI(
        title="airflow-mlsec",
        dependencies=[Depends(signed_in_user)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.add_exception_handler(MlsecError, _failed)
    # The pages themselves contain no data. Who may not see any is told so by the page; without it, Airflow would say
    # that there is no such page.
    app.add_api_route("/main.js", page, methods=["GET"], include_in_schema=False)
    data = APIRouter(prefix="/api", dependencies=[Depends(granted_user)])
    data.add_api_route("/map", data_map, methods=["GET"])
    data.add_api_route("/requests", requests, methods=["GET"])
    data.add_api_route("/requests/{number}", request_of_number, methods=["GET"])
    app.include_router(data)
    return app


def page() -> Response:
    """The built page."""
    bundle = resources.files("airflow_mlsec.plugin").joinpath("static", "main.js")
    if not bundle.is_file():
        return Response("the page was not built; run `make setup`", status_code=503)
    return Response(
        bundle.read_bytes(),
        media_type="text/javascript",
        headers={"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"},
    )


def data_map(dataset: Annotated[str | None, Query(max_length=4096)] = None) -> dict[str, Any]:
    """The personal-data map; with ``dataset``, also which datasets that name means."""
    return personal_data_map(open_register(Settings.load()), dataset)


def requests() -> dict[str, Any]:
    """Every data-subject request."""
    settings = Settings.load()
    return all_requests(open_register(settings), settings.time_zone)


def request_of_number(number: int) -> dict[str, Any]:
    """One data-subject request with its ledger; 404 if there is none."""
    settings = Settings.load()
    try:
        return one_request(open_register(settings), number, settings.time_zone)
    except UsageError as error:
        raise HTTPException(404, str(error)) from None


def _failed(request: Request, error: Exception) -> JSONResponse:
    del request
    return JSONResponse(
        {"detail": str(error)}, status_code=503, headers={"Cache-Control": "no-store"}
    )
