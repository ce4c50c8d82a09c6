"""The group of commands: which there are, and what becomes of an error that reaches the top."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from hutch.errors import HutchError

__all__ = ["hutch"]

# Command name -> the module whose `command` it is. Nothing is imported before it is asked for: `hutch get` should
# not pay for the modules of `hutch demo`.
_COMMANDS = {
    "demo": "hutch.cli.demo",
}


class _CommandGroup(click.Group):
    """A group that imports a command's module when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = import_module(module).command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HutchError as problem:
            # A damaged or locked database is a fact about the user's files: a message, not a traceback.
            raise click.ClickException(str(problem)) from problem


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hutch")
def hutch() -> None:
    """A persistent dict whose files any Python can open."""
