"""``hutch inspect``: one value taken apart, with nothing run."""

from __future__ import annotations

import json
from typing import Any

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.entries import fetch
from hutch.cli.escapes import printable
from hutch.cli.layers import unwrap
from hutch.cli.options import KeyFormat, json_option, key_argument, key_format_option, name_argument, timeout_option
from hutch.cli.pickles import disassembly, is_allowed, names_of, protocol_of
from hutch.cli.quantities import size_text
from hutch.cli.records import key_field
from hutch.codecs.framing import guess

__all__ = ["command"]

_HEX_BYTES = 16
_SHOWN_BYTES = 512


@click.command()
@name_argument
@key_argument
@click.option("--lines", type=click.IntRange(min=0), metavar="N", help="At most N lines of the disassembly.")
@json_option
@key_format_option
@timeout_option
@reading_options
def command(
    name: str,
    key: str,
    lines: int | None,
    as_json: bool,
    key_format: KeyFormat,
    timeout: float | None,
    coding: Coding,
) -> None:
    """Take the value of KEY apart, without running it.

    Compression, signatures and (with --key-file) encryption are taken off; a pickle is disassembled as `pickletools`
    does it, and the classes and functions that it names are listed; of other values the first bytes are shown.
    """
    where = key_format.parse(key)
    data = fetch(name, where, key_format, timeout)
    outer = unwrap(where, data, coding.secrets, peek=True)
    protocol = None if outer.closed else protocol_of(outer.data)
    names = names_of(outer.data, as_far_as_it_goes=True) if protocol is not None else []
    facts: dict[str, Any] = {
        "key": key_field(where) if as_json else key_format.show(where),
        "stored_bytes": len(data),
        "layers": list(outer.layers),
        "bytes": len(outer.data),
        "looks_like": "pickle" if protocol is not None else guess(outer.data),
    }
    if outer.closed:
        facts["closed"] = outer.closed
    if protocol is not None:
        facts["protocol"] = protocol
        facts["names"] = [
            {"module": module, "name": qualified, "safe": is_allowed(module, qualified)} for module, qualified in names
        ]
    text = disassembly(outer.data) if protocol is not None else _hex_lines(outer.data)
    if as_json:
        facts["disassembly" if protocol is not None else "hex"] = text[:lines]
        click.echo(json.dumps(facts, indent=2))
        return
    for line in _head(facts, names):
        click.echo(line)
    click.echo("")
    for line in text[:lines]:
        click.echo(line)
    if lines is not None and len(text) > lines:
        click.echo(f"… {len(text) - lines:,} lines more")


def _head(facts: dict[str, Any], names: list[tuple[str, str]]) -> list[str]:
    lines = [f"key     {facts['key']}", f"stored  {size_text(facts['stored_bytes'])}"]
    lines += [f"layer   {layer}" for layer in facts["layers"]]
    what = f"pickle, protocol {facts['protocol']}" if "protocol" in facts else facts["looks_like"] or "bytes"
    lines.append(f"value   {what}, {size_text(facts['bytes'])}")
    if "closed" in facts:
        lines.append(f"closed  {facts['closed']}")
    lines += [
        f"names   {printable(f'{module}.{name}')}{'' if is_allowed(module, name) else '  (SafePickle refuses it)'}"
        for module, name in names
    ]
    return lines


def _hex_lines(data: bytes) -> list[str]:
    lines = []
    for start in range(0, min(len(data), _SHOWN_BYTES), _HEX_BYTES):
        row = data[start : start + _HEX_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:8x}  {row.hex(' '):<{3 * _HEX_BYTES}} {text}")
    if len(data) > _SHOWN_BYTES:
        lines.append(f"… {len(data) - _SHOWN_BYTES:,} bytes more; `hutch get --raw` has them all")
    return lines
