"""The documentation page says what the document says, escapes it, and needs nothing from elsewhere."""

from router.docs_page import render_docs

DOCUMENT = {
    "info": {"title": "Cells <& more>", "description": "d"},
    "paths": {
        "/v1/orders/{order_id}": {
            "get": {"summary": "One order", "responses": {"200": {"description": "ok", "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}}},
        },
        "/v1/orders": {
            "post": {
                "parameters": [{"name": "X-Idempotency-Key", "in": "header", "description": "<b>key</b>"}],
                "requestBody": {"content": {"application/json": {"schema": {
                    "properties": {"side": {"enum": ["buy", "sell"]}, "qty": {"oneOf": [{"type": "string"}]}},
                    "required": ["side"]}}}},
                "responses": {"201": {"description": "made"}},
            }
        },
    },
    "components": {"schemas": {"Order": {"properties": {"legs": {"type": "array", "items": {"$ref": "#/x/Leg"}}}}}},
}  # fmt: skip


def test_every_operation_and_field_is_there() -> None:
    page = render_docs(DOCUMENT)
    for expected in ("POST", "/v1/orders/{order_id}", "buy | sell", "list of Leg", "string, optional", "One order"):
        assert expected in page


def test_nothing_of_the_document_is_markup_and_nothing_is_fetched() -> None:
    page = render_docs(DOCUMENT)
    assert "<b>key" not in page
    assert "Cells &lt;&amp; more&gt;" in page
    assert "<script" not in page
    assert "//" not in page.replace("<!doctype", "")


def test_an_empty_document_is_a_page() -> None:
    assert render_docs({}).startswith("<!doctype html>")
