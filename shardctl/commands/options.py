"""Options and arguments that many commands have, in their one wording."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="A user id, or the email of the sign-up.")]
CellName = Annotated[str, typer.Argument(help="Name of a cell, as cell-1.")]
CellOption = Annotated[str, typer.Option("--cell", "-c", help="Name of a cell, as cell-1.")]
