"""What a person may do: five roles, each may do all that those before it may. Pure.

There is one order and no lists of rights: an endpoint names the least role that it wants, and whoever reads that table
knows who may call it.
"""

from enum import StrEnum


class Role(StrEnum):
    """In rising order."""

    VIEWER = "viewer"
    """Looks at cells, customers' accounts and operations; changes nothing."""
    AUDITOR = "auditor"
    """Also reads and exports the record of who did what."""
    OPERATOR = "operator"
    """Also changes a cell, a customer's account, the market outside; asks for operations."""
    RELEASER = "releaser"
    """Also changes what software runs where."""
    ADMIN = "admin"
    """Also changes keys, and opens what was fenced."""

    def may(self, least: "Role") -> bool:
        """Is it at least that role?"""
        return _RISING.index(self) >= _RISING.index(least)


_RISING = tuple(Role)
