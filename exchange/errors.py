"""What the exchange refuses, in its own words: each error carries the HTTP status its operator port answers with."""


class ExchangeError(Exception):
    """Root of what this package raises on purpose."""

    status_code = 500
    code = "EXCHANGE_ERROR"


class BadFrame(ExchangeError):
    """Bytes on the session that are not a frame of this protocol; the connection is closed, its session survives."""

    status_code = 400
    code = "BAD_FRAME"


class TapeInvalid(ExchangeError):
    """The tape breaks a rule of the format; `line` is the 1-based line that does."""

    status_code = 422
    code = "TAPE_INVALID"

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class TapeConflict(ExchangeError):
    """The same symbol and run were loaded before with other content."""

    status_code = 409
    code = "TAPE_CONFLICT"


class InvalidField(ExchangeError):
    """An operator's request that cannot be meant; `field` is the one that is wrong."""

    status_code = 422
    code = "INVALID_FIELD"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field


class LogInconsistent(ExchangeError):
    """The durable log contradicts itself; the process stops rather than guess."""

    code = "LOG_INCONSISTENT"
