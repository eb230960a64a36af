"""How an operator's token names the one request that it is for. Pure, and without what signs and verifies tokens."""


def request_name(place: str, method: str, path: str) -> str:
    """`cell-1 POST /operator/v1/archive`: without the query and a slash at the end, which name no other resource."""
    return f"{place} {method} {path.partition('?')[0].rstrip('/')}"
