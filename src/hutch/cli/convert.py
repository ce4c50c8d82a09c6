"""``hutch convert``: databases of other libraries, brought over and back."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def command(source: str, target: str) -> None:
    """Bring a database into another form, or from one."""
    raise click.UsageError("not there yet")
