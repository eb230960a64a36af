"""What the OpenAPI document says of a body is what the parser takes."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cell.accounts.controllers.account import DepositRequest
from cell.app import create_app
from cell.orders.replace import ReplaceRequest
from cell.orders.schemas import OrderRequest
from cell.settings import CellSettings
from cell.transfers.bring import TransferRequest
from infra.runtime.settings import PostgresSettings
from infra.security.keys import generate_key_files


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    keys: Path = tmp_path_factory.mktemp("keys")
    generate_key_files(keys)
    postgres = PostgresSettings(dsn="postgresql://nobody@127.0.0.1/nothing")
    return create_app(CellSettings(name="cell-1", postgres=postgres, keys_dir=keys)).openapi()


@pytest.mark.parametrize(
    ("path", "request_type"),
    [
        ("/v1/orders", OrderRequest),
        ("/v1/orders/preview", OrderRequest),
        ("/v1/deposits", DepositRequest),
        ("/v1/share-transfers", TransferRequest),
    ],
)
def test_a_body_has_the_fields_that_are_parsed(document: Any, path: str, request_type: type[msgspec.Struct]) -> None:
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(request_type.__struct_fields__)


def test_a_replacement_has_the_fields_that_are_parsed(document: Any) -> None:
    operation = document["paths"]["/v1/orders/{order_id}"]["patch"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(ReplaceRequest.__struct_fields__)
    assert "202" in operation["responses"]


def test_the_inside_is_not_documented(document: Any) -> None:
    assert not [path for path in document["paths"] if not path.startswith("/v1/")]


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [(method, path, item[method]) for path, item in document["paths"].items() for method in item]


def test_every_parameter_is_described_as_it_is_checked(document: Any) -> None:
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            assert schema["type"] in ("string", "integer"), (method, path, parameter["name"])
            assert set(schema) & {"pattern", "enum", "format", "maximum"}, (method, path, parameter["name"])


def test_every_write_names_its_key_and_a_replacement_its_version(document: Any) -> None:
    required = {
        (method, path): {p["name"] for p in operation.get("parameters", []) if p["in"] == "header" and p["required"]}
        for method, path, operation in operations(document)
        if method != "get" and not path.endswith("/preview")
    }
    assert required.pop(("patch", "/v1/orders/{order_id}")) == {"X-Idempotency-Key", "If-Match"}
    assert len(required) == 5
    assert set(map(frozenset, required.values())) == {frozenset({"X-Idempotency-Key"})}


def test_every_refusal_is_a_problem_document(document: Any) -> None:
    for method, path, operation in operations(document):
        assert {"401", "404", "503"} <= set(operation["responses"]), (method, path)
        for status, response in operation["responses"].items():
            media = "application/json" if status.startswith("2") else "application/problem+json"
            assert set(response["content"]) == {media}, (method, path, status)


def test_the_answer_to_a_placed_order_leads_on(document: Any) -> None:
    known = {operation["operationId"] for _, _, operation in operations(document)}
    for path, method, status in (("/v1/orders", "post", "201"), ("/v1/orders/{order_id}", "patch", "202")):
        links = document["paths"][path][method]["responses"][status]["links"]
        assert links
        assert {link["operationId"] for link in links.values()} <= known
