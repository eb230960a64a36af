"""The one limit of a move that a customer feels."""

from typing import Final

LEASE_MS: Final = 1_000
"""Of a halt: the hard limit of a pause (design 9). Then the user trades on in the source by themselves."""
