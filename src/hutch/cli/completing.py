"""Completion in bash and fish, where click's own loses backslashes, and breaks keys at blanks, colons and commas.

What zsh and fish get comes back from them as it is. Bash takes what it gets for what the user would have typed, so it
has to be quoted; and it completes only what stands behind the last colon of a word.
"""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

from click.shell_completion import BashComplete, CompletionItem, FishComplete, add_completion_class

__all__ = ["BashCompletion", "FishCompletion", "register"]

_BASH = """\
%(complete_func)s() {
    local response type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("$value")
                [[ $value == */ ]] && compopt -o nospace
                ;;
        esac
    done <<< "$response"
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_FISH = """\
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) \
        %(prog_name)s)
    for completion in $response
        set -l parts (string split -m 1 -- "," $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                printf '%%s\\n' $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""
_BREAKS = ":="  # of what bash breaks words at, what a key or a path may well contain
_SPECIAL = re.compile(r"([^\w@%+=:,./~-])")
_ESCAPE_IN_QUOTES = re.compile(r"\\([$`])")
_SPECIAL_IN_QUOTES = re.compile(r'(["$`\\])')


def _split(line: str) -> tuple[list[str], str]:
    """The words of a command line, of which the last may be unfinished, and the quote that is still open in it."""
    from shlex import shlex

    reader = shlex(line, posix=True)
    reader.whitespace_split = True
    reader.commenters = ""
    words: list[str] = []
    try:
        words.extend(reader)
    except ValueError:
        words.append(reader.token or "")
        state = getattr(reader, "state", "")  # the quote that it is in
        return words, state if state in ("'", '"') else ""
    if not line or line[-1].isspace():
        words.append("")
    return words, ""


class BashCompletion(BashComplete):
    """What click's class does, for any key."""

    source_template: ClassVar[str] = _BASH
    _quote = ""
    _skip = 0  # characters of the word that bash takes for words before it

    def get_completion_args(self) -> tuple[list[str], str]:
        words, self._quote = _split(os.environ.get("COMP_LINE", ""))
        incomplete = words[-1]
        if self._quote == '"':
            incomplete = _ESCAPE_IN_QUOTES.sub(r"\1", incomplete)  # those that shlex knows nothing of
        elif not self._quote:
            self._skip = 1 + max(map(incomplete.rfind, _BREAKS))
        return words[1:-1], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        value: Any = item.value
        if item.type == "plain":
            if self._quote == "'":
                value = value.replace("'", r"'\''")
            elif self._quote:
                value = _SPECIAL_IN_QUOTES.sub(r"\\\1", value)
            else:
                value = _SPECIAL.sub(r"\\\1", value[self._skip :])
        return f"{item.type},{value}"


class FishCompletion(FishComplete):
    """What click's class does, for keys with commas too."""

    source_template: ClassVar[str] = _FISH


def register() -> None:
    """Have click take these classes for its own."""
    add_completion_class(BashCompletion)
    add_completion_class(FishCompletion)
