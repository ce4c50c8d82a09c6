"""The group of commands: which there are, and what becomes of an error that reaches the top."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from hutch.cli.exits import closing

__all__ = ["hutch"]

# Command name -> where it is, and its one line of help. No module is imported before its command is run: `hutch get`
# should not pay for the modules of `hutch demo`, nor `hutch --help` for any. A test compares the lines.
_COMMANDS = {
    "get": ("hutch.cli.entries:get", "Print the value of KEY."),
    "set": ("hutch.cli.entries:set_", "Store VALUE under KEY."),
    "del": ("hutch.cli.entries:delete", "Delete KEYs."),
    "keys": ("hutch.cli.listing:keys", "List the keys."),
    "items": ("hutch.cli.listing:items", "List keys and values."),
    "len": ("hutch.cli.listing:length", "Print the number of keys."),
    "stat": ("hutch.cli.stat:command", "Show sizes, free space and the state of the index."),
    "check": ("hutch.cli.check:command", "Read everything and compare it with its checksums."),
    "reorganize": ("hutch.cli.upkeep:reorganize", "Give unused space back."),
    "backup": ("hutch.cli.upkeep:backup", "Copy one moment of a database that is in use."),
    "dump": ("hutch.cli.dump:command", "Write every entry as a line of JSON."),
    "load": ("hutch.cli.load:command", "Store what `hutch dump` has written."),
    "diff": ("hutch.cli.diff:command", "Compare two databases."),
    "convert": ("hutch.cli.convert:command", "Bring a database into another form, or from one."),
    "inspect": ("hutch.cli.inspect:command", "Take the value of KEY apart, without running it."),
    "classes": ("hutch.cli.classes:command", "List the classes that the values name, without running them."),
    "recode": ("hutch.cli.recode:command", "Rewrite all values under another codec."),
    "watch": ("hutch.cli.watch:command", "Print changes as they happen, whoever makes them."),
    "shell": ("hutch.cli.shell:command", "Start a prompt where the shelf is a dict."),
    "demo": (
        "hutch.cli.demo:command",
        "Build a shelf of the Unicode character database, check it, kill its writers, time it.",
    ),
}


class _CommandGroup(click.Group):
    """A group that imports a command's module when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=line) for name, (_, line) in _COMMANDS.items() if name.startswith(incomplete)
        ]
        # Not Group's own, which would import every command for its line.
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        with closing(ctx):
            return super().invoke(ctx)


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hutch")
def hutch() -> None:
    r"""A persistent dict whose files any Python can open.

    NAME is the name of a database, with or without the suffix of one of its files. KEY is text, in which \xHH stands
    for one byte and \\ for a backslash. No value is unpickled unless you say --unpickle.

    Exit codes: 0 done; 1 no such key, or a difference; 2 wrong arguments; 3 damage; 4 the database cannot be opened or
    written; 5 a value cannot be read, or not be written so; 130 interrupted.
    """
