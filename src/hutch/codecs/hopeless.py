"""What no allow list of SafePickle may have, since it would let a pickle do anything, or do harm by being made.

- Only classes: a function does whatever it was written for, and so does what a module offers under another name.
- No metaclass and nothing that leads to one: its objects are classes, and their methods are what somebody wrote.
- Of the standard library, only what is known to be data. Its other classes start processes, open files, talk to others.
- Nothing of, and no subclass of, what runs code.

Classes of everybody else are for the user to judge: allowing one is to say that it may be made with any arguments.
"""

from __future__ import annotations

import re
import sys
from enum import EnumType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hutch.codecs.opcodes import Global

__all__ = ["found_in_memory", "refusal_of", "refusal_of_name", "successor"]

# Modules of which a single function or class is enough to run anything, or to open files and connections.
_HOPELESS = re.compile(
    r"(_codecs|_ctypes|_functools|_imp|_io|_operator|_pickle|_posixsubprocess|_thread|asyncio|bdb|code|codecs|codeop|"
    r"copyreg|cProfile|ctypes|functools|gc|importlib|inspect|io|marshal|multiprocessing|nt|operator|os|pdb|pickle|"
    r"pkgutil|posix|profile|pty|pydoc|runpy|shutil|signal|socket|subprocess|sys|timeit|trace|types|webbrowser|zipimport|"
    r"distutils|imp|lib2to3|nntplib|pipes|telnetlib|test\.support|"  # of which some Pythons have some
    r"_pytest|cffi|cloudpickle|dill|IPython|joblib|numpy\.(?:ctypeslib|distutils|f2py|testing)|pip|pkg_resources|"
    r"pytest|setuptools)(\..*)?",
    re.DOTALL,
)
_HARMLESS = frozenset([("types", "SimpleNamespace"), ("os", "PathLike")])
_HARMFUL = frozenset([("numpy", "memmap"), ("numpy", "vectorize")])  # a file of any name; a call of anything
_ARRAYS = frozenset([("numpy", "ndarray"), ("numpy", "dtype")])
_STATES = "its state decides how memory is read: arrays are for SafePickle(numpy=True)"
# Classes of the standard library that are data, beside those that need no allowing. Their constructors do nothing else.
_DATA: dict[str, str] = {
    "argparse": "Namespace",
    "array": "array",
    "collections": "ChainMap UserDict UserList UserString",
    "decimal": "Context DecimalTuple",
    "difflib": "Match",
    "email.charset": "Charset",
    "email.headerregistry": "Address Group",
    "email.message": "EmailMessage MIMEPart Message",
    "email.policy": "EmailPolicy",
    "email._policybase": "Compat32",
    "enum": "Enum Flag IntEnum IntFlag StrEnum",
    "graphlib": "TopologicalSorter",
    "http": "HTTPMethod HTTPStatus",
    "http.cookiejar": "Cookie",
    "http.cookies": "BaseCookie Morsel SimpleCookie",
    "json.decoder": "JSONDecodeError",
    "logging": "LogRecord",
    "pathlib": "Path PosixPath WindowsPath",
    "plistlib": "PlistFormat UID",
    "random": "Random",
    "re": "RegexFlag",
    "sched": "Event",
    "statistics": "LinearRegression NormalDist",
    "string": "Template",
    "time": "struct_time",
    "tokenize": "TokenInfo",
    "types": "SimpleNamespace",
    "urllib.parse": "DefragResult DefragResultBytes ParseResult ParseResultBytes SplitResult SplitResultBytes",
    "xml.etree.ElementTree": "Element ElementTree QName",
}
_ANYTHING = "that would be to allow a pickle to do anything"


def refusal_of_name(module: str, name: str) -> str | None:
    """Why a name may not be allowed, as far as the name tells; None: it may, if it is that of a harmless class."""
    if any(part.startswith("__") and part.endswith("__") for part in name.split(".")):
        return "what is called so leads out of its class"
    module, name = _modern(module, name)
    if module == "builtins":
        import builtins

        thing = getattr(builtins, name, None)
        return None if isinstance(thing, type) and issubclass(thing, BaseException) else _ANYTHING
    if module.partition(".")[0] in sys.stdlib_module_names:
        if name in _DATA.get(module, "").split():
            return None
        if _HOPELESS.fullmatch(module) is None:
            return "of the standard library, only classes that are known to be data may be"
    home = module
    for part in ("", *name.split(".")[:-1]):  # what is before the last part may be a module too
        home = f"{home}.{part}" if part else home
        if _HOPELESS.fullmatch(home):
            return _ANYTHING
    if (module, name) in _ARRAYS:
        return _STATES
    return _ANYTHING if (module, name) in _HARMFUL else None


def refusal_of(thing: Any) -> str | None:
    """Why an object may not be allowed; None: it is a class, and no harm is known of it."""
    if not isinstance(thing, type):
        return "it is no class: only classes may be"
    if issubclass(thing, type):
        return f"it makes classes, and {_ANYTHING}"
    where = (thing.__module__, thing.__qualname__)
    if _HOPELESS.fullmatch(where[0]) is None and (isinstance(thing, EnumType) or issubclass(thing, BaseException)):
        return None
    reason = refusal_of_name(*where)
    if reason is None:
        for base in thing.__mro__[1:]:
            home = (base.__module__, base.__qualname__)
            if home in _ARRAYS:
                return _STATES
            if home in _HARMFUL or (home not in _HARMLESS and _HOPELESS.fullmatch(home[0])):
                return f"it is a {'.'.join(home)}, and {_ANYTHING}"
    return reason


def found_in_memory(module: str, name: str) -> Any:
    """What has that name, if its module has been imported already; None if not. Runs nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        owners = found.__mro__ if isinstance(found, type) else (found,)
        found = next((vars(owner)[part] for owner in owners if part in getattr(owner, "__dict__", ())), None)
    return found


def _modern(module: str, name: str) -> tuple[str, str]:
    """What this Python has in the place of a name of Python 2, unless there is a module of that name here."""
    if module == "pathlib._local":  # where 3.13 has them
        return successor(module, name)
    there = successor(module, name)
    if there == (module, name) or module in sys.stdlib_module_names or _is_there(module):
        return module, name
    return there


def _is_there(module: str) -> bool:
    from importlib.util import find_spec

    top = module.partition(".")[0]
    try:
        return top in sys.modules or find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def successor(module: str, name: str) -> Global:
    """Where this Python has what another one has written as module and name.

    Python 2's names, of which protocols 0 to 2 are full, and the module that pathlib's classes had in 3.13.
    """
    if module == "pathlib._local":
        return "pathlib", name
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    return NAME_MAPPING.get((module, name)) or (IMPORT_MAPPING.get(module, module), name)
