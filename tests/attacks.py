"""Pickles that attack whoever unpickles them, assembled opcode by opcode.

`SHELL` and `CODE` are what they would run: each leaves a file named `CANARY` in the working directory, or fires
`fire`. A test that unpickles them has to run in a directory of its own.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple, Self

__all__ = [
    "CANARY",
    "CLASSES",
    "FIRED",
    "GADGETS",
    "NAMES",
    "Tripwire",
    "calls_of",
    "fire",
    "global_",
    "special",
    "text",
]

CANARY = "canary"
SHELL = f"echo fired > {CANARY}"
CODE = f"open({CANARY!r}, 'w').close()"
FIRED: list[object] = []


def fire(*arguments: object, **named: object) -> None:
    """What must never be called."""
    FIRED.append(arguments)


class Colour(enum.Enum):
    """Members are the same objects for everybody."""

    RED = 1
    BLUE = 2


class Items(list[object]):
    """A subclass without a constructor of its own."""


class Blob(bytes):
    """Likewise."""


class Whole(int):
    """Likewise."""


class Pair(NamedTuple):
    """A tuple that is none to a quick look."""

    first: object
    second: object


class Plain:
    """A class with nothing special."""


class Callable:
    """A class whose objects can be called."""

    def __call__(self) -> None:
        FIRED.append("called")


class Tripwire:
    """A class that a test allows, and that must not be touched before all of a pickle is known to be allowed."""

    def __new__(cls, *arguments: object) -> Self:
        FIRED.append("new")
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        FIRED.append("setstate")


CLASSES = (Colour, Items, Blob, Whole, Pair, Plain, Callable, Tripwire)


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def global_(module: str, name: str) -> bytes:
    """STACK_GLOBAL, which takes any names."""
    return text(module) + text(name) + b"\x93"


def atom(value: object) -> bytes:
    """An argument of a gadget."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case str():
            return text(value)
        case int():
            return b"\x8a\x08" + struct.pack("<q", value)
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(atom, value)) + b"t"
        case list():
            return b"](" + b"".join(map(atom, value)) + b"e"
        case dict():
            return b"}(" + b"".join(atom(key) + atom(item) for key, item in value.items()) + b"u"
    raise TypeError(value)


# Functions and classes that run code, import, read or write files, start processes or talk to others: module, name and
# arguments that would show. Most are reachable in any Python, some need a package, some were there in Python 2.
GADGETS: list[tuple[str, str, tuple[object, ...]]] = [
    ("os", "system", (SHELL,)),
    ("posix", "system", (SHELL,)),
    ("nt", "system", (SHELL,)),
    ("os", "popen", (SHELL,)),
    ("os", "execv", ("/bin/sh", ("sh", "-c", SHELL))),
    ("os", "spawnlp", (0, "sh", "sh", "-c", SHELL)),
    ("os", "remove", (CANARY,)),
    ("os", "open", (CANARY, 65)),
    ("os", "mkdir", (CANARY,)),
    ("os", "putenv", ("HUTCH_CANARY", "1")),
    ("posix", "posix_spawn", ("/bin/sh", ("sh", "-c", SHELL), {})),
    ("subprocess", "Popen", (("sh", "-c", SHELL),)),
    ("subprocess", "run", (("sh", "-c", SHELL),)),
    ("subprocess", "call", (("sh", "-c", SHELL),)),
    ("subprocess", "check_output", (("sh", "-c", SHELL),)),
    ("subprocess", "getoutput", (SHELL,)),
    ("commands", "getoutput", (SHELL,)),
    ("popen2", "popen2", (SHELL,)),
    ("pty", "spawn", (("sh", "-c", SHELL),)),
    ("builtins", "eval", (CODE,)),
    ("builtins", "exec", (CODE,)),
    ("builtins", "compile", (CODE, "", "exec")),
    ("builtins", "open", (CANARY, "w")),
    ("builtins", "__import__", ("antigravity",)),
    ("builtins", "breakpoint", ()),
    ("builtins", "input", ()),
    ("builtins", "print", ("fired",)),
    ("builtins", "help", ()),
    ("builtins", "getattr", ("", "format")),
    ("builtins", "setattr", ("", "x", 1)),
    ("builtins", "delattr", ("", "x")),
    ("builtins", "vars", ()),
    ("builtins", "globals", ()),
    ("builtins", "locals", ()),
    ("builtins", "type", ("X", (), {})),
    ("builtins", "super", ()),
    ("builtins", "property", ()),
    ("builtins", "classmethod", (1,)),
    ("builtins", "memoryview", (b"x",)),
    ("builtins", "map", (1, [])),
    ("builtins", "filter", (1, [])),
    ("builtins", "iter", ([],)),
    ("builtins", "next", ([],)),
    ("builtins", "max", ([1],)),
    ("builtins", "sorted", ([1],)),
    ("builtins", "sum", ([1],)),
    ("builtins", "exit", ()),
    ("builtins", "SystemExit", ()),
    ("builtins", "KeyboardInterrupt", ()),
    ("__builtin__", "eval", (CODE,)),
    ("__builtin__", "execfile", ("/dev/null",)),
    ("__builtin__", "file", (CANARY, "w")),
    ("__builtin__", "getattr", ("", "format")),
    ("__builtin__", "apply", (1, ())),
    ("__builtin__", "reduce", (1, [])),
    ("__builtin__", "input", ()),
    ("__builtin__", "__import__", ("antigravity",)),
    ("exceptions", "SystemExit", ()),
    ("sys", "exit", ()),
    ("sys", "setrecursionlimit", (50,)),
    ("sys", "settrace", (None,)),
    ("sys", "modules", ()),
    ("operator", "attrgetter", ("system",)),
    ("operator", "methodcaller", ("system", SHELL)),
    ("operator", "itemgetter", (0,)),
    ("operator", "call", (1,)),
    ("_operator", "attrgetter", ("system",)),
    ("_operator", "methodcaller", ("system", SHELL)),
    ("_operator", "itemgetter", (0,)),
    ("functools", "partial", (1,)),
    ("functools", "reduce", (1, [])),
    ("_functools", "partial", (1,)),
    ("_functools", "reduce", (1, [])),
    ("functools", "partialmethod", (1,)),
    ("importlib", "import_module", ("antigravity",)),
    ("importlib", "__import__", ("antigravity",)),
    ("importlib", "reload", (1,)),
    ("importlib._bootstrap", "_gcd_import", ("antigravity",)),
    ("importlib.machinery", "SourceFileLoader", ("x", CANARY)),
    ("importlib.util", "spec_from_file_location", ("x", CANARY)),
    ("_imp", "create_dynamic", (1,)),
    ("imp", "load_source", ("x", CANARY)),
    ("zipimport", "zipimporter", (CANARY,)),
    ("pkgutil", "resolve_name", ("os:system",)),
    ("pydoc", "locate", ("os.system",)),
    ("pydoc", "pipepager", ("x", SHELL)),
    ("pydoc", "writedoc", ("os",)),
    ("types", "FunctionType", (1, {})),
    ("types", "CodeType", (0, 0, 0, 0, 0, 0, b"", (), (), (), "", "", "", 0, b"", b"", (), ())),
    ("types", "MethodType", (1, 2)),
    ("types", "ModuleType", ("x",)),
    ("types", "new_class", ("X",)),
    ("types", "DynamicClassAttribute", (1,)),
    ("runpy", "run_module", ("antigravity",)),
    ("runpy", "run_path", (CANARY,)),
    ("runpy", "_run_code", (CODE, {})),
    ("timeit", "timeit", (CODE, "pass", 1, 1)),
    ("timeit", "main", ((CODE,),)),
    ("pdb", "run", (CODE,)),
    ("pdb", "Pdb", ()),
    ("bdb", "Bdb", ()),
    ("code", "interact", ()),
    ("code", "InteractiveInterpreter", ()),
    ("codeop", "compile_command", (CODE,)),
    ("cProfile", "run", (CODE,)),
    ("profile", "run", (CODE,)),
    ("trace", "Trace", ()),
    ("doctest", "debug_script", (CODE,)),
    ("test.support.script_helper", "assert_python_ok", ("-c", CODE)),
    ("pip", "main", (("download", "x"),)),
    ("pip._internal", "main", (("download", "x"),)),
    ("ensurepip", "_run_pip", (("list",),)),
    ("venv", "create", (CANARY,)),
    ("webbrowser", "open", ("file:///",)),
    ("antigravity", "geohash", (1, 2, b"x")),
    ("ctypes", "CDLL", (None,)),
    ("ctypes", "string_at", (0,)),
    ("ctypes", "memmove", (0, 0, 1)),
    ("ctypes.util", "find_library", ("c",)),
    ("_ctypes", "dlopen", (None,)),
    ("logging.config", "dictConfig", ({"version": 1},)),
    ("logging.config", "fileConfig", (CANARY,)),
    ("logging.config", "listen", ()),
    ("logging", "FileHandler", (CANARY,)),
    ("shutil", "rmtree", (CANARY,)),
    ("shutil", "copy", ("/etc/passwd", CANARY)),
    ("shutil", "move", ("/etc/passwd", CANARY)),
    ("io", "open", (CANARY, "w")),
    ("_io", "open", (CANARY, "w")),
    ("_io", "FileIO", (CANARY, "w")),
    ("io", "open_code", (CANARY,)),
    ("codecs", "open", (CANARY, "w")),
    ("codecs", "encode", ("x", "rot13")),
    ("codecs", "decode", (b"x", "zip")),
    ("codecs", "getencoder", ("rot13",)),
    ("codecs", "register", (1,)),
    ("_codecs", "decode", (b"x", "zip")),
    ("_codecs", "lookup", ("rot13",)),
    ("_codecs", "encode", ("x", "rot13")),
    ("_codecs", "encode", ("x", "utf-8")),
    ("_codecs", "encode", ("x", "latin1", "strict")),
    ("_codecs", "encode", (b"x", "latin1")),
    ("tempfile", "mktemp", ()),
    ("tempfile", "NamedTemporaryFile", ()),
    ("fileinput", "input", (("/etc/passwd",),)),
    ("linecache", "getlines", ("/etc/passwd",)),
    ("glob", "glob", ("/*",)),
    ("pickle", "loads", (b"cos\nsystem\n(S'" + SHELL.encode() + b"'\ntR.",)),
    ("_pickle", "loads", (b"cos\nsystem\n(S'" + SHELL.encode() + b"'\ntR.",)),
    ("pickle", "Unpickler", (b"",)),
    ("pickle", "_loads", (b"N.",)),
    ("marshal", "loads", (b"N",)),
    ("shelve", "open", (CANARY,)),
    ("dbm.dumb", "open", (CANARY, "c")),
    ("hutch", "open", (CANARY,)),
    ("hutch.codecs.safe", "SafePickle", ()),
    ("hutch.codecs.allowed", "reconstruct", ()),
    ("sqlite3", "connect", (CANARY,)),
    ("socket", "socket", ()),
    ("socket", "create_connection", (("localhost", 1),)),
    ("http.client", "HTTPConnection", ("localhost",)),
    ("urllib.request", "urlopen", ("file:///etc/passwd",)),
    ("smtplib", "SMTP", ()),
    ("ssl", "get_server_certificate", (("localhost", 1),)),
    ("signal", "raise_signal", (9,)),
    ("signal", "signal", (2, 1)),
    ("threading", "Thread", ()),
    ("_thread", "start_new_thread", (1, ())),
    ("multiprocessing", "Process", ()),
    ("multiprocessing.util", "spawnv_passfds", (b"/bin/sh", ("sh",), ())),
    ("multiprocessing.context", "reduction", ()),
    ("multiprocessing.reduction", "rebuild_socket", ()),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start", ()),
    ("asyncio", "run", (1,)),
    ("concurrent.futures", "ProcessPoolExecutor", ()),
    ("atexit", "register", (1,)),
    ("weakref", "finalize", (1, 1)),
    ("gc", "get_objects", ()),
    ("inspect", "getsource", (1,)),
    ("copyreg", "add_extension", ("os", "system", 77)),
    ("copyreg", "pickle", (1, 2)),
    ("copyreg", "constructor", (1,)),
    ("copyreg", "__newobj__", (1,)),
    ("copyreg", "__newobj_ex__", (1, (), {})),
    ("copyreg", "__reduce_ex__", (1, 2)),
    ("copy_reg", "_reconstructor", (1, 2, None)),
    ("copy", "deepcopy", ([],)),
    ("collections", "namedtuple", ("x", "a b")),
    ("collections", "UserDict", ()),
    ("typing", "NamedTuple", ("x",)),
    ("dataclasses", "make_dataclass", ("x", ["a"])),
    ("enum", "Enum", ("x", "a")),
    ("string", "Formatter", ()),
    ("ast", "literal_eval", ("1",)),
    ("re", "compile", ("x",)),
    ("re", "_compile", ("(a*)*b", 0)),
    ("sre_constants", "error", ()),
    ("unittest.mock", "_importer", ("os",)),
    ("uuid", "_get_command_stdout", ("sh",)),
    ("uuid", "getnode", ()),
    ("zoneinfo", "reset_tzpath", (("/",),)),
    ("zoneinfo", "ZoneInfo", ("../../etc/passwd",)),
    ("pathlib", "Path", (".",)),
    ("pathlib", "PosixPath", (".",)),
    ("decimal", "setcontext", (1,)),
    ("decimal", "localcontext", ()),
    ("distutils.file_util", "write_file", (CANARY, ["x"])),
    ("lib2to3.main", "main", (1,)),
    ("idlelib.pyshell", "main", ()),
    ("site", "main", ()),
    ("xmlrpc.client", "ServerProxy", ("http://localhost",)),
    ("wsgiref.simple_server", "make_server", ("", 0, 1)),
    ("platform", "popen", (SHELL,)),
    ("readline", "read_history_file", ("/etc/passwd",)),
    ("cgitb", "enable", ()),
    ("torch", "load", (CANARY,)),
    ("torch.hub", "load", ("x", "y")),
    ("torch._utils", "_rebuild_tensor_v2", ()),
    ("torch.serialization", "_get_layout", ("x",)),
    ("torch.utils._config_module", "ConfigModule.load_config", (b"",)),
    ("torch.jit.unsupported_tensor_ops", "execWrapper", (CODE, {}, {})),
    ("joblib", "load", (CANARY,)),
    ("pandas", "read_pickle", (CANARY,)),
    ("dill", "loads", (b"",)),
    ("cloudpickle", "_make_function", ()),
    ("yaml", "unsafe_load", ("",)),
    ("numpy", "load", (CANARY,)),
    ("numpy", "fromfile", ("/etc/passwd",)),
    ("numpy", "memmap", ("/etc/passwd",)),
    ("numpy", "ndarray", ((1 << 40,),)),
    ("numpy", "dtype", ("O", False, True)),
    ("numpy.testing._private.utils", "runstring", (CODE, {})),
    ("numpy.f2py.crackfortran", "getlincoef", (CODE, ())),
    ("numpy.f2py.crackfortran", "myeval", (CODE,)),
    ("numpy.core.multiarray", "_reconstruct", (1, (1 << 40,), b"b")),
    ("numpy._core.multiarray", "_reconstruct", (1, (1 << 40,), b"b")),
    ("numpy._core.multiarray", "fromfile", ("/etc/passwd",)),
    ("numpy._core._multiarray_umath", "_reconstruct", (1, (1 << 40,), b"b")),
    ("attacks", "fire", ("called",)),
    ("__main__", "fire", ("called",)),
]

# Names that lead out of an allowed module or class, or are spelt so that a sloppy comparison lets them through.
NAMES: list[tuple[str, str]] = [
    ("datetime", "datetime.today"),
    ("datetime", "datetime.fromisoformat"),
    ("datetime", "datetime.__class__"),
    ("datetime", "sys.exit"),
    ("datetime", "sys.modules"),
    ("decimal", "Decimal.from_float"),
    ("decimal", "Decimal.__reduce__"),
    ("uuid", "os.system"),
    ("uuid", "sys.modules"),
    ("uuid", "UUID.__init__.__globals__"),
    ("uuid", "UUID.__setstate__"),
    ("collections", "_sys.modules"),
    ("collections", "OrderedDict.fromkeys"),
    ("collections", "OrderedDict.__class__"),
    ("collections", "defaultdict.__missing__"),
    ("collections", "abc"),
    ("collections.abc", "Mapping"),
    ("pathlib", "os.system"),
    ("pathlib", "PurePath.__class__"),
    ("pathlib._local", "os.system"),
    ("pathlib._local", "Path"),
    ("fractions", "operator.attrgetter"),
    ("fractions", "Fraction._from_coprime_ints"),
    ("ipaddress", "functools.partial"),
    ("zoneinfo", "ZoneInfo._unpickle"),
    ("zoneinfo", "ZoneInfo.from_file"),
    ("zoneinfo._common", "load_tzdata"),
    ("builtins", "object.__subclasses__"),
    ("builtins", "object.__reduce_ex__"),
    ("builtins", "int.__class__"),
    ("builtins", "int.from_bytes"),
    ("builtins", "str.format"),
    ("builtins", "set.__init__"),
    ("builtins", "dict.fromkeys"),
    ("builtins", "bytes.fromhex"),
    ("builtins", "__dict__"),
    ("builtins", "__loader__.load_module"),
    ("builtins", "__spec__"),
    ("_codecs", "encode.__self__"),
    ("_codecs", "encode.__call__"),
    ("copyreg", "_reconstructor.__globals__"),
    ("copyreg", "dispatch_table"),
    ("attacks", "Tripwire.__new__"),
    ("attacks", "Tripwire.mro"),
    ("attacks", "Tripwire "),
    ("attacks", " Tripwire"),
    ("attacks", "tripwire"),
    ("attacks", "Trip\N{LATIN SMALL LETTER DOTLESS I}wire"),
    ("attacks.Tripwire", "__new__"),
    ("attacks", ""),
    ("", "Tripwire"),
    ("", ""),
    ("", "eval"),
    (".", "."),
    ("builtins", ""),
    ("builtins", "."),
    ("builtins", "set."),
    ("builtins", ".set"),
    ("builtins", "SET"),
    ("Builtins", "set"),
    ("builtins ", "set"),
    (" builtins", "set"),
    ("builtins\0", "set"),
    ("builtins", "set\0"),
    ("builtins", "eval\0"),
    ("builtins", "\N{FULLWIDTH LATIN SMALL LETTER S}et"),
    ("builtins", "\N{MATHEMATICAL BOLD SMALL E}val"),
    ("\N{FULLWIDTH LATIN SMALL LETTER O}s", "system"),
    ("o\N{ZERO WIDTH SPACE}s", "system"),
    ("os", "sy\N{LATIN SMALL LIGATURE ST}em"),
    ("builtins", "\ud800"),
    ("\udcff", "set"),
    ("__builtin__", "set.__class__"),
    ("__builtin__", "xrange.__class__"),
    ("__main__", "__builtins__"),
    ("__main__", "datetime"),
    ("datetime.datetime", "today"),
    ("datetime/datetime", "today"),
    ("os.path", "join"),
    ("os.path.os", "system"),
    ("?", "?"),
]


def calls_of(module: str, name: str, arguments: tuple[object, ...]) -> Iterator[tuple[str, bytes]]:
    """Every way in which opcodes can make that call, and name of each."""
    items = b"".join(map(atom, arguments))
    line = f"{module}\n{name}\n".encode("utf-8", "surrogatepass")
    named = global_(module, name)
    yield "GLOBAL REDUCE", b"c" + line + b"(" + items + b"tR."
    yield "INST", b"(" + items + b"i" + line + b"."
    yield "GLOBAL OBJ", b"(c" + line + items + b"o."
    yield "protocol 2", b"\x80\x02c" + line + b"(" + items + b"tR."
    yield "NEWOBJ", b"\x80\x02" + named + b"(" + items + b"t\x81."
    yield "NEWOBJ_EX", b"\x80\x04" + named + b"(" + items + b"t}\x92."
    body = named + b"\x94(" + items + b"t\x94R\x94."
    yield "STACK_GLOBAL REDUCE", b"\x80\x04" + body
    yield "in a frame", b"\x80\x05\x95" + struct.pack("<Q", len(body)) + body
    yield "names from the memo", b"\x80\x04" + text(name) + b"\x940" + text(module) + b"\x94h\x00\x93(" + items + b"tR."
    yield (
        "names in another order",
        b"\x80\x04" + text(name) + b"q\x07" + text(module) + b"q\x09h\x09h\x07\x93(" + items + b"tR.",
    )
    yield (
        "a memo slot used twice",
        (b"\x80\x04" + text("set") + b"q\x00" + text(name) + b"q\x00" + text(module) + b"h\x00\x93(" + items + b"tR."),
    )
    yield "thrown away", b"\x80\x04" + named + b"(" + items + b"tR0N."
    yield "thrown away with a mark", b"\x80\x04(" + named + b"(" + items + b"tR1N."
    yield "as a key", b"\x80\x04}" + named + b"(" + items + b"tRNs."
    yield (
        "behind an allowed call",
        b"\x80\x04]" + global_("attacks", "Tripwire") + b")\x81a" + named + b"(" + items + b"tRa.",
    )
    yield "only named", b"\x80\x04" + named + b"."
    yield "only named, and thrown away", b"\x80\x04" + named + b"0N."
    yield (
        "in a frame that ends before",
        (b"\x80\x04\x95" + struct.pack("<Q", len(text(module))) + named + b"(" + items + b"tR."),
    )


#: What does harm where nobody looks for opcodes, since it names only what is allowed. No text of more than 255 bytes.
OUT_OF_PLACE = {
    "bytearray of a size": b"cbuiltins\nbytearray\nJ\0\0\0\1\x85R.",
    "set of a range": b"cbuiltins\nset\ncbuiltins\nrange\nJ\x40\x42\x0f\0\x85R\x85R.",
    "attribute of a class": b"cfractions\nFraction\nN}\x8c\4evilK\7s\x86b.",
    "a class that is not allowed": b"cos\nsystem\n\x8c\4true\x85R.",
    "a memo for millions": b"Nr\0\0\0\1.",
    "something plain": b"N.",
}


def special() -> dict[str, bytes]:
    """Pickles that name only what is allowed, or nothing, and still must not be unpickled."""
    trip = global_("attacks", "Tripwire")
    plain = global_("attacks", "Plain")
    colour = global_("attacks", "Colour")
    rng = global_("builtins", "range")
    huge = b"\x8a\x06" + (10**12).to_bytes(6, "little")
    uuid = global_("uuid", "UUID") + b")\x81}("
    doubled = b")" + b"2\x86" * 60  # a tuple that a hash visits 2**60 times
    table = {
        "bytearray of a size": global_("builtins", "bytearray") + huge + b"\x85R.",
        "bytearray of a size, NEWOBJ": global_("builtins", "bytearray") + huge + b"\x85\x81.",
        "bytes of a size": global_("builtins", "bytes") + huge + b"\x85R.",
        "set of a range": global_("builtins", "set") + rng + huge + b"\x85R\x85R.",
        "frozenset of a range": global_("builtins", "frozenset") + rng + huge + b"\x85R\x85R.",
        "list of a range": global_("builtins", "list") + rng + huge + b"\x85R\x85R.",
        "tuple of a range": global_("builtins", "tuple") + rng + huge + b"\x85R\x85R.",
        "deque of a range": global_("collections", "deque") + rng + huge + b"\x85R\x85R.",
        "Counter of a range": global_("collections", "Counter") + rng + huge + b"\x85R\x85R.",
        "OrderedDict of a range": global_("collections", "OrderedDict") + rng + huge + b"\x85R\x85R.",
        "set of a range, OBJ": b"(" + global_("builtins", "set") + rng + huge + b"\x85Ro.",
        "set of a range, INST": b"(" + rng + huge + b"\x85Ribuiltins\nset\n.",
        "subclass of list of a range": global_("attacks", "Items") + rng + huge + b"\x85R\x85R.",
        "subclass of bytes of a size": global_("attacks", "Blob") + huge + b"\x85\x81.",
        "str of what prints for ever": global_("builtins", "str") + doubled + b"\x85R.",
        "int of text": global_("builtins", "int") + text("9" * 5000) + b"\x85R.",
        "Fraction of an exponent": global_("fractions", "Fraction") + text("1e999999999") + b"\x85R.",
        "Fraction of a Decimal": (
            global_("fractions", "Fraction") + global_("decimal", "Decimal") + text("1e999999999") + b"\x85R\x85R."
        ),
        "Fraction of a float": global_("fractions", "Fraction") + b"G" + bytes(8) + b"\x85R.",
        "defaultdict of a number": global_("collections", "defaultdict") + b"K\x01\x85R.",
        "defaultdict of what a call returned": global_("collections", "defaultdict") + trip + b")R\x85R.",
        "a key that hashes for ever": b"}" + doubled + b"Ns.",
        "an element that hashes for ever": b"\x8f(" + doubled + b"\x90.",
        "a frozenset that hashes for ever": b"(" + doubled + b"\x91.",
        "a key that hashes for ever, by the memo": b"})"
        + b"".join(b"q" + bytes((n,)) + b"h" + bytes((n,)) + b"\x86" for n in range(60))
        + b"Ns.",
        "a dict of such, from marks": b"(" + doubled + b"Nd.",
        "set of such": global_("builtins", "set") + b"](" + doubled + b"e\x85R.",
        "OrderedDict of such": global_("collections", "OrderedDict") + b")R" + doubled + b"Ns.",
        "a tuple deeper than the stack": b"}" + b")" + b"\x85" * 2_000_000 + b"Ns.",
        "lists in lists": b"]" * 100_000 + b"a" * 99_999 + b".",
        "dicts in dicts": b"}" + b"N}" * 50_000 + b"s" * 50_000 + b".",
        "lists in lists by the memo": b"]r\0\0\0\0"
        + b"".join(b"]r" + struct.pack("<I", n) + b"j" + struct.pack("<I", n - 1) + b"a" for n in range(1, 5000))
        + b".",
        "a memo of a billion": b"Nr\xff\xff\xff\x3f.",
        "a memo of a billion, as text": b"Np1073741823\n.",
        "BUILD on a class": trip + b"N}" + text("__new__") + trip + b"s\x86b.",
        "BUILD on a class without state": trip + b"}" + text("x") + b"Nsb.",
        "BUILD on a class from the memo": trip + b"\x940h\x02N}" + text("y") + b"Ns\x86b.",
        "BUILD on a class of the standard library": (
            global_("collections", "OrderedDict") + b"N}" + text("popitem") + b"Ns\x86b."
        ),
        "BUILD on a class, its state a named tuple": (
            plain + global_("attacks", "Pair") + b"N}" + text("z") + b"Ns\x86\x81b."
        ),
        "BUILD on a member of an enum": colour + b"K\x01\x85R}" + text("_value_") + b"K\x02sb.",
        "BUILD on a member of an enum, slots": colour + b"K\x01\x85RN}" + text("_value_") + b"K\x02s\x86b.",
        "BUILD on a member of an enum, NEWOBJ": colour + b"K\x01\x85\x81}" + text("_value_") + b"K\x02sb.",
        "BUILD on a date": global_("datetime", "date") + b"(M\xe8\x07K\x01K\x01tRN}" + text("x") + b"Ns\x86b.",
        "BUILD on a Fraction": (
            global_("fractions", "Fraction") + b"K\x01K\x02\x86RN}" + text("_denominator") + b"K\x00s\x86b."
        ),
        "BUILD on a list": b"]}" + text("x") + b"Nsb.",
        "BUILD on text": text("x") + b"}" + text("x") + b"Nsb.",
        "BUILD on a counter": (
            global_("collections", "Counter") + b")R}" + text("update") + global_("builtins", "int") + b"sb."
        ),
        "BUILD that makes a member of an enum": plain + b")\x81N}" + text("__class__") + colour + b"s\x86b.",
        "BUILD that makes another class, the name in old quotes": (
            plain + b")\x81N}S'__class__'\n" + global_("attacks", "Callable") + b"s\x86b."
        ),
        "BUILD that makes another class, among others": (
            plain + b")\x81N}(" + text("a") + b"N" + text("__class__") + global_("attacks", "Callable") + b"u\x86b."
        ),
        "BUILD that makes another class, one by one": (
            plain + b")\x81N}" + (text("__class__") + global_("attacks", "Callable") + b"s") + (text("a") + b"Ns\x86b.")
        ),
        "BUILD that makes another class, by a dict of old": (
            b"}\x94"
            + (text("__class__") + global_("attacks", "Callable") + b"s")
            + (b"}" + text("a") + b"Ns0" + plain + b")\x81Nh\x00\x86b.")
        ),
        "BUILD that makes another class, its state a named tuple": (
            plain
            + b")\x81"
            + global_("attacks", "Pair")
            + (b"N}" + text("__class__") + global_("attacks", "Callable") + b"s\x86\x81b.")
        ),
        "BUILD on an OrderedDict, of slots": (
            global_("collections", "OrderedDict")
            + (b")RN}" + text("__class__") + global_("builtins", "dict") + b"s\x86b.")
        ),
        "a UUID that hashes for ever": uuid + text("int") + doubled + b"ub.",
        "a UUID that shows for ever": uuid + text("int") + b"K\x01" + text("is_safe") + doubled + b"ub.",
        "a UUID of a list": uuid + text("int") + b"]ub.",
        "a UUID of a longer int": uuid + text("int") + b"\x8b" + struct.pack("<I", 300) + b"a" * 300 + b"ub.",
        "a UUID without an int": uuid + b"ub.",
        "a UUID of more": uuid + text("int") + b"K\x01" + text("x") + b"Nub.",
        "a UUID of a tuple": global_("uuid", "UUID") + b")\x81N}" + text("int") + b"K\x01s\x86b.",
        "a list put into itself, by a slice": (
            b"]\x94Na" + global_("builtins", "slice") + b"K\x00K\x00N\x87R\x94" + b"0h\x00h\x01h\x00s" * 20 + b"."
        ),
        "a list of another class put into itself": (
            global_("attacks", "Items")
            + (b")\x81\x94Na" + global_("builtins", "slice") + b"K\x00K\x00N\x87R\x94")
            + (b"0h\x00h\x01h\x00s" * 20 + b".")
        ),
        "a bytearray put into itself": (
            (b"\x96" + struct.pack("<Q", 4) + b"abcd\x94" + global_("builtins", "slice") + b"K\x00K\x00N\x87R\x94")
            + (b"0h\x00h\x01h\x00s" * 20 + b".")
        ),
        "a bytearray that grows": b"\x96" + bytes(8) + b"K\x01a.",
        "an append to a dict": b"}Na.",
        "an append to a set": b"\x8fNa.",
        "an addition to a list": b"](N\x90.",
        "an addition to a deque": global_("collections", "deque") + b")R(N\x90.",
        "an item of a date": global_("datetime", "date") + b"(M\xe8\x07K\x01K\x01tRNNs.",
        "a view of a bytearray": b"\x96" + struct.pack("<Q", 4) + b"abcd\x98.",
        "subclass of bytes of a size, by name": global_("attacks", "Blob") + b")}" + text("source") + huge + b"s\x92.",
        "subclass of int of a Decimal": (
            global_("attacks", "Whole") + global_("decimal", "Decimal") + text("1e999999999") + b"\x85R\x85\x81."
        ),
        "range of what is no int": rng + global_("fractions", "Fraction") + b"K\x01K\x01\x86R\x85R.",
        "a call of what a call returned": global_("attacks", "Callable") + b")R)R.",
        "a call of a list": b"])R.",
        "a call of a number": b"K\x01)R.",
        "arguments that are no tuple": global_("builtins", "set") + b"]R.",
        "a forged member of an enum": (
            global_("copyreg", "_reconstructor") + colour + global_("builtins", "object") + b"N\x87R."
        ),
        "_reconstructor of bytes of a size": (
            global_("copyreg", "_reconstructor")
            + global_("attacks", "Blob")
            + global_("builtins", "bytes")
            + huge
            + b"\x87R."
        ),
        "_reconstructor of a base that is none": (
            global_("copyreg", "_reconstructor") + plain + global_("builtins", "set") + b"]\x87R."
        ),
        "_reconstructor as a value": b"]" + global_("copyreg", "_reconstructor") + b"a.",
        "_codecs.encode as a value": global_("_codecs", "encode") + b".",
        "_codecs.encode as a factory": global_("collections", "defaultdict") + global_("_codecs", "encode") + b"\x85R.",
        "getattr as a value": b"]" + global_("builtins", "getattr") + b"a.",
        "getattr of another class": global_("builtins", "getattr") + trip + text("_unpickle") + b"\x86R.",
        "getattr of another name": (
            global_("builtins", "getattr") + global_("zoneinfo", "ZoneInfo") + text("from_file") + b"\x86R."
        ),
        "getattr of a name with dots": (
            global_("builtins", "getattr") + global_("zoneinfo", "ZoneInfo") + text("_unpickle.__class__") + b"\x86R."
        ),
        "a method of time zones as a value": (
            b"]" + global_("builtins", "getattr") + global_("zoneinfo", "ZoneInfo") + text("_unpickle") + b"\x86Ra."
        ),
        "a time zone from elsewhere": (
            global_("builtins", "getattr")
            + global_("zoneinfo", "ZoneInfo")
            + text("_unpickle")
            + b"\x86R"
            + text("../../../../etc/passwd")
            + b"\x88\x86R."
        ),
        "NEWOBJ_EX of a set": global_("builtins", "set") + b")}\x92.",
        "a name made by a call": (
            text("os") + global_("_codecs", "encode") + text("system") + text("latin1") + b"\x86R\x93."
        ),
        "a name that is a number": text("os") + b"K\x01\x93.",
        "a name in quotes of Python 2": b"S'os'\nS'system'\n\x93(" + text(SHELL) + b"tR.",
        "a name in short quotes of Python 2": b"U\x02osU\x06system\x93(" + text(SHELL) + b"tR.",
        "a name in escapes": b"V\\u006fs\nVsystem\n\x93(" + text(SHELL) + b"tR.",
        "a name behind an escaped newline": b"Vo\\u000as\nVsystem\n\x93.",
        "a name with a carriage return": b"cos\r\nsystem\r\n.",
        "a name that is no text": b"c\xff\xfe\n\xff\n.",
        "a name without a newline": b"cos\nsystem",
        "a persistent id": b"Pos.system\n.",
        "a persistent id from the stack": text("os.system") + b"Q.",
        "an extension": b"\x80\x02\x82\xf0.",
        "an extension, two bytes": b"\x80\x02\x83\xf0\x00.",
        "an extension, four bytes": b"\x80\x02\x84\xf0\x00\x00\x00.",
        "an extension of nought": b"\x80\x02\x82\x00.",
        "an extension below nought": b"\x80\x02\x84\xff\xff\xff\xff.",
        "a buffer from elsewhere": b"\x80\x05\x97.",
        "bytes behind the end": b"N.N.",
        "a pickle behind a pickle": b"N.cos\nsystem\n(" + text(SHELL) + b"tR.",
        "no end": b"N",
        "no value": b".",
        "nothing": b"",
        "only a mark": b"(.",
        "a mark in the way": b"N(.",
        "underflow": b"a.",
        "underflow at a mark": b"](Na.",
        "an odd dict": b"(Nd.",
        "odd items": b"}(Nu.",
        "what the memo has not": b"h\x05.",
        "what the memo has not, as text": b"g5\n.",
        "a slot below nought": b"Np-1\n.",
        "a size that is not there": b"X\xff\xff\xff\xff.",
        "a size of a number that is not there": b"\x8b\xff\xff\xff\x7f.",
        "a size below nought": b"\x8b\xff\xff\xff\xff.",
        "eight bytes of size": b"\x8e" + b"\xff" * 8 + b".",
        "a bytearray of a size that is not there": b"\x96\x00\x00\x00\x00\x00\x01\x00\x00.",
        "a frame that is not there": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7fN.",
        "a protocol of the future": b"\x80\x06N.",
        "a number that is none": b"Ix\n.",
        "no opcode": b"\xff.",
        "no opcode at all": b"\x00\x01\x02",
    }
    for name, opcode in (("MARK", b"("), ("DUP", b"2"), ("POP", b"0"), ("POP_MARK", b"1")):
        table[f"only {name}"] = opcode * 5 + b"."
    return table
