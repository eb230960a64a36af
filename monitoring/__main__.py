"""`python -m monitoring render DIR`: Prometheus's rules, promtool's tests of them, Grafana's dashboards."""

from pathlib import Path
from typing import Annotated

import typer

from monitoring.render import render as render_to

cli = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@cli.callback()
def _monitoring() -> None:
    """One verb, and room for more."""


@cli.command()
def render(
    folder: Annotated[Path, typer.Argument(help="Written over: rules/, rule_tests/, dashboards/.")],
    hold_s_max: Annotated[
        int | None, typer.Option(min=0, help="No alert waits longer than so many seconds; for drills.")
    ] = None,
) -> None:
    """Write the rules, their tests and the dashboards to a folder."""
    done = render_to(folder, hold_s_max=hold_s_max)
    typer.echo(f"{done.alerts} alerts and {done.dashboards} dashboards in {folder}")


if __name__ == "__main__":
    cli()
