"""The OpenAPI document keeps its word: what it allows is answered as it says, never by a 5xx."""

from __future__ import annotations

import base64
import warnings

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks

from candid.serving.app import create_app
from candid.serving.schema import DOT
from candid.settings import ServeConfig
from serving.served import model, running, with_maps


def test_the_document_has_every_address_and_examples_that_work():
    import httpx

    with running() as address:
        document = httpx.get(f"{address}/openapi.json").json()
        assert set(document["paths"]) == {
            "/v1/predict", "/v1/explain", "/v1/models", "/healthz", "/readyz", "/metrics",
            "/reports/{name}",
        }  # fmt: skip
        content = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
        assert {"multipart/form-data", "application/json", "image/jpeg"} <= set(content)
        for example in content["application/json"]["examples"].values():
            answer = httpx.post(f"{address}/v1/predict", json=example["value"])
            assert answer.status_code == 200
            assert answer.json()["results"][0]["width"] == 1
        assert "x-api-key" not in str(document).lower()
        assert base64.b64decode(DOT).startswith(b"\x89PNG")
    with running(key="k") as address:
        secured = httpx.get(f"{address}/openapi.json").json()["paths"]
        assert secured["/v1/predict"]["post"]["security"]
        assert "security" not in secured["/healthz"]["get"]


@pytest.fixture(scope="module")
def url():  # type: ignore[no-untyped-def]
    with running(with_maps(), max_images=4, max_bytes=100_000) as address:
        yield address


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries below schemathesis
    document = schemathesis.openapi.from_dict(create_app([model()], ServeConfig()).openapi())


@document.parametrize()
@settings(
    max_examples=6, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_whatever_the_document_allows_is_answered_as_it_says(case, url):
    kept = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    case.call_and_validate(base_url=url, checks=kept)
