"""A client's request, as it was read. Data: no I/O, no decisions.

The parser fills it (`framing.py`); once it is whole only its ids are added, and `keep_alive` may be taken back. What is
not said in most requests stays with the class, because one of these is made for every request.
"""


class Request:
    """Values are bytes as they came, without the blanks around them; names of headers are in lower case."""

    method = b""
    target = b""
    body = b""
    is_whole = False
    """The last byte of the body has come."""
    keep_alive = False
    """The client's connection goes on after the answer."""
    asks_for_websocket = False
    received_s = 0.0
    """Of the loop's clock: when it was whole and its turn came."""

    authorization = b""
    coding = b""
    codings = 0
    """Transfer codings, of which `coding` is the last."""
    connection = b""
    content_length = b""
    expects_continue = False
    has_identity = False
    has_key = False
    hosts = 0
    problem = ""
    """What is wrong with its headers, though they are well-formed."""
    request_id = b""
    trace = b""
    """`traceparent`: the client's own if it is well-formed."""
    upgrade = b""

    def __init__(self) -> None:
        self.head_bytes = 0
        self.header_count = 0
        self.headers: list[tuple[bytes, bytes]] = []
        """All of them, for a page of the router's own."""
        self.passed: list[bytes] = []
        """Those that cross to a cell, in four parts each: name, `: `, value, line break."""
