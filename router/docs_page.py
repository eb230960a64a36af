"""The customers' documentation as one plain page, made from the OpenAPI document.

No script and nothing from elsewhere: it reads the same behind a firewall, in a text browser, and on the day everything
else is down. Pure; everything from the document is escaped.
"""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem; border-top: 1px solid #dde3ea; padding-top: 1.2rem }
code, .path { font-family: ui-monospace, monospace; font-size: .92em }
.method { display: inline-block; min-width: 4.2rem; border-radius: .3rem; color: #fff; text-align: center }
.get { background: #2563a8 } .post { background: #23794a } .delete { background: #a83232 }
.put, .patch { background: #8a6116 } .muted { color: #5b6776 }
table { border-collapse: collapse; margin: .4rem 0 .8rem }
td { padding: .12rem 1.2rem .12rem 0; vertical-align: top } td:first-child { white-space: nowrap }
nav a { display: block; text-decoration: none; color: inherit }
"""


def render_docs(document: Mapping[str, Any]) -> str:
    """The page. `document` is the merged OpenAPI document of the customer API."""
    info = document.get("info", {})
    operations = list(_operations(document))
    title = escape(str(info.get("title", "")))
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{title}</title><meta name=viewport content='width=device-width'><style>{_STYLE}</style>",
        f"<h1>{title}</h1><p>{escape(str(info.get('description', '')))} ",
        "For machines: <a href=/openapi.json>openapi.json</a>.</p><nav>",
        *(f"<a href='#{anchor}'>{_head(method, path)}</a>" for anchor, method, path, _ in operations),
        "</nav>",
    ]
    for anchor, method, path, operation in operations:
        parts.append(f"<h2 id='{anchor}'>{_head(method, path)}</h2>")
        parts.extend(_describe(document, operation))
    return "".join(parts)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    number = 0
    for path, item in document.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                number += 1
                yield f"op{number}", method, path, item[method]


def _head(method: str, path: str) -> str:
    return f"<span class='method {method}'>{method.upper()}</span> <span class=path>{escape(path)}</span>"


def _describe(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    summary, description = operation.get("summary", ""), operation.get("description", "")
    yield f"<p>{escape(summary)}{'. ' if summary and description else ''}{escape(description)}</p>"
    if parameters := operation.get("parameters"):
        yield "<table>"
        for parameter in parameters:
            need = "required" if parameter.get("required") else "optional"
            where = f"{parameter.get('in', '')}, {need}"
            yield _row(parameter.get("name", ""), where, parameter.get("description", ""))
        yield "</table>"
    if body := operation.get("requestBody"):
        yield "<p class=muted>Body</p>"
        yield from _fields(document, _schema_of(body))
    for status, response in operation.get("responses", {}).items():
        yield f"<p class=muted>Answer {escape(str(status))}: {escape(str(response.get('description', '')))}</p>"
        if str(status).startswith("2"):
            yield from _fields(document, _schema_of(response))


def _schema_of(carrier: Mapping[str, Any]) -> Mapping[str, Any]:
    for media in carrier.get("content", {}).values():
        schema: Mapping[str, Any] = media.get("schema", {})
        return schema
    return {}


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step, {})
    return found if isinstance(found, Mapping) else {}


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    resolved = _resolve(document, schema)
    properties: Mapping[str, Any] = resolved.get("properties", {})
    required = set(resolved.get("required", ()))
    if properties:
        yield "<table>"
        for name, field in properties.items():
            kind = _kind(document, field)
            yield _row(name, kind if name in required else f"{kind}, optional", field.get("description", ""))
        yield "</table>"


def _kind(document: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[-1]
    if field.get("type") == "array":
        return f"list of {_kind(document, field.get('items', {}))}"
    choices = field.get("oneOf") or field.get("anyOf")
    if choices:
        return " or ".join(dict.fromkeys(_kind(document, choice) for choice in choices))
    kind = field.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else f"{kind}{_format(field)}"


def _format(field: Mapping[str, Any]) -> str:
    return f" ({field['format']})" if "format" in field else ""


def _row(name: str, kind: str, description: str) -> str:
    cells = (f"<code>{escape(name)}</code>", f"<span class=muted>{escape(kind)}</span>", escape(description))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
