"""What the OpenAPI document says of a body is what the parser takes."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cell.accounts.controllers.account import DepositRequest
from cell.app import create_app
from cell.orders.replace import ReplaceRequest
from cell.orders.schemas import OrderRequest
from cell.positions.controller import TransferRequest
from cell.settings import CellSettings
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
