"""``hutch classes``: which classes and functions the pickles name, found without running any.

`Shelf.classes` does it for values of one codec. Here each value is taken for what it looks like, and looked at behind a
signature whose key nobody has given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.database import Damage, entries, open_database
from hutch.cli.escapes import printable
from hutch.cli.exits import UNREADABLE, told
from hutch.cli.layers import unwrap
from hutch.cli.options import KeyFormat, json_option, key_format_option, name_argument, timeout_option
from hutch.cli.pickles import is_allowed, protocol_of
from hutch.cli.progress import notice, steps
from hutch.cli.quantities import count_text
from hutch.cli.records import key_field
from hutch.errors import CodecError
from hutch.survey import is_there, references

__all__ = ["command"]

_EXAMPLES = 3


@dataclass
class _Found:
    """What has been seen of one class.

    Attributes:
        count: the values that name it.
        examples: keys of the first of them.
    """

    count: int = 0
    examples: list[bytes] = field(default_factory=list)

    def add(self, key: bytes) -> None:
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(key)


@click.command()
@name_argument
@click.option("--refused", is_flag=True, help="Only what SafePickle refuses.")
@json_option
@key_format_option
@timeout_option
@reading_options
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    refused: bool,
    as_json: bool,
    key_format: KeyFormat,
    timeout: float | None,
    coding: Coding,
) -> None:
    """List the classes that the values name, without running them.

    And functions; how many values name each, and whether SafePickle takes it. Nothing is imported or run. Values that
    are no pickles name nothing.
    """
    damage = Damage()
    found: dict[tuple[str, str], _Found] = {}
    pickles = others = unread = 0
    with open_database(name, "r", timeout=timeout) as database, steps("reading", len(database)) as counter:
        for key, data in entries(database, damage):
            counter.advance()
            try:
                inner = unwrap(key, data, coding.secrets, peek=True)
                if inner.closed:
                    raise CodecError(inner.closed)
                if protocol_of(inner.data) is None:
                    others += 1
                    continue
                names = references(inner.data)
            except CodecError as problem:
                notice(f"Unreadable: {key_format.show(key)}: {told(problem)}")
                unread += 1
                continue
            pickles += 1
            for each in names:
                found.setdefault(each, _Found()).add(key)
    rows = sorted(found.items(), key=lambda pair: (-pair[1].count, pair[0]))
    rows = [(each, seen) for each, seen in rows if not (refused and is_allowed(*each))]
    if as_json:
        classes = [
            {
                "module": module,
                "name": qualified,
                "count": seen.count,
                "safe": is_allowed(module, qualified),
                "found": is_there(module, qualified),
                "examples": [key_field(key) for key in seen.examples],
            }
            for (module, qualified), seen in rows
        ]
        facts = {"classes": classes, "pickles": pickles, "other_values": others, "unreadable": unread}
        click.echo(json.dumps(facts, indent=2))
    else:
        for (module, qualified), seen in rows:
            mark = "safe   " if is_allowed(module, qualified) else "refused"
            if is_there(module, qualified) is False:
                mark = "missing"
            examples = ", ".join(map(key_format.show, seen.examples)) + (", …" if seen.count > _EXAMPLES else "")
            click.echo(f"{seen.count:>8,}  {mark}  {printable(f'{module}.{qualified}')}  ({examples})")
        named = count_text(len(found), "class or function", "classes and functions")
        click.echo(f"{count_text(pickles, 'pickle')}, {named}; {count_text(others, 'other value')}")
    damage.settle(ctx)
    if unread:
        ctx.exit(UNREADABLE)
