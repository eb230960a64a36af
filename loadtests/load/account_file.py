"""The accounts of load tests: a file of names and passwords, readable by its owner alone, used again by every run.

It lies in the stack's state folder (or where it is told) and never in a repository. Written as a whole and renamed, so
it is never half a file. A file that others could read is refused rather than trusted.
"""

import os
import time
from collections import Counter
from pathlib import Path

import msgspec


class AccountFileRefused(Exception):
    """The file is missing, readable by others, or no account file."""


class Account(msgspec.Struct):
    number: int
    """Within its class."""
    customer_class: str
    email: str
    password: str
    user_id: str
    cell: str
    access_token: str
    token_ends_at_s: float

    @property
    def name(self) -> str:
        return f"{self.customer_class}-{self.number}"

    def token_lasts(self, seconds: float) -> bool:
        return self.token_ends_at_s > time.time() + seconds


class AccountFile(msgspec.Struct):
    stack: str
    symbols: list[str]
    """In order of popularity."""
    accounts: list[Account]

    def by_class(self) -> dict[str, int]:
        return dict(Counter(account.customer_class for account in self.accounts))

    def of_class(self, name: str) -> list[Account]:
        return [account for account in self.accounts if account.customer_class == name]


def read_accounts(path: Path) -> AccountFile:
    """Raises AccountFileRefused."""
    try:
        if path.stat().st_mode & 0o077:
            raise AccountFileRefused(f"{path} can be read by others: chmod 600 it, or make new accounts")
        return msgspec.json.decode(path.read_bytes(), type=AccountFile)
    except FileNotFoundError as error:
        raise AccountFileRefused(f"no accounts at {path}: make them with `python -m loadtests accounts`") from error
    except msgspec.DecodeError as error:
        raise AccountFileRefused(f"{path} is no file of accounts: {error}") from error


def write_accounts(path: Path, accounts: AccountFile) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(accounts))
    beside.replace(path)
