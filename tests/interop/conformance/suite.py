"""The cases of PyPI's autobahntestsuite, which are Python 2, read by Python 3.

Only the cases are used, not the client that runs them there: that one needs a Twisted and an Autobahn
of long ago. A case holds its bytes in `str`. So its source is read as Latin-1 and every character
stands for one byte, as it did in Python 2; `peer` turns it into bytes. Nothing of the package is
changed on disk, and nothing of it is in this repository.
"""

import binascii
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import re
import sys
import types

# Loaded before `binascii` is replaced, because they need the real one.
_ = (hashlib, binascii)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the suite's modules by their bare names, as Python 2 did within a package."""

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path=None, target=None):
        if (self.folder / f"{name}.py").is_file():
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def exec_module(self, module):
        run(module, self.folder / f"{module.__name__}.py")


def run(module, file):
    """Runs a file of Python 2 as this module."""
    source = file.read_bytes().decode("latin-1").expandtabs()
    source = re.sub(r"^( *)print\b.*$", r"\1pass", source, flags=re.MULTILINE)
    # Base classes in an order that Python 3 refuses, and the only division of integers.
    source = source.replace("(object, Case, )", "(Case, )")
    source = source.replace(") / self.p.autoFragmentSize", ") // self.p.autoFragmentSize")
    # It needs Twisted, and is not among the cases that are run.
    source = source.replace("from case9_9_1 import *", "")
    module.__dict__.update(xrange=range, unichr=chr)
    exec(compile(source, str(file), "exec"), module.__dict__)


def _hex(data):
    return (data.encode("latin-1") if isinstance(data, str) else data).hex()


class Utf8Validator:
    """The part that cases use: whether bytes are UTF-8, and whether they end with a character."""

    def reset(self):
        pass

    def validate(self, text):
        data = text.encode("latin-1")
        try:
            data.decode()
            return (True, True, len(data), len(data))
        except UnicodeDecodeError as error:
            is_cut = error.reason == "unexpected end of data"
            return (is_cut, False, error.start, error.start)


class WebSocketProtocol:
    """The states that cases query."""

    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = range(4)


class PerMessageDeflateOffer:
    """A case's offer: parameters of permessage-deflate."""

    def __init__(
        self,
        acceptNoContextTakeover=True,
        acceptMaxWindowBits=True,
        requestNoContextTakeover=False,
        requestMaxWindowBits=0,
    ):
        self.requestNoContextTakeover = requestNoContextTakeover
        self.requestMaxWindowBits = requestMaxWindowBits
        self.parameters = [
            ("client_no_context_takeover", acceptNoContextTakeover),
            ("client_max_window_bits", acceptMaxWindowBits),
            ("server_no_context_takeover", requestNoContextTakeover),
            (f"server_max_window_bits={requestMaxWindowBits}", requestMaxWindowBits > 0),
        ]

    def text(self):
        given = [name for name, is_given in self.parameters if is_given]
        return "; ".join(["permessage-deflate", *given])


def load(package):
    """All case classes of the package in this folder, in their order."""
    package = pathlib.Path(package)
    modules = {
        "autobahn": {},
        "autobahn.websocket": {},
        "autobahn.websocket.protocol": {"WebSocketProtocol": WebSocketProtocol},
        "autobahn.websocket.utf8validator": {"Utf8Validator": Utf8Validator},
        "autobahn.websocket.compress": {
            "PerMessageDeflateOffer": PerMessageDeflateOffer,
            "PerMessageDeflateResponse": object,
        },
        "pkg_resources": {"resource_filename": lambda _, path: str(package / path)},
        "binascii": {"b2a_hex": _hex, "hexlify": _hex},
    }
    for name, contents in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        sys.modules[name] = module
    sys.meta_path.insert(0, _Finder(package / "case"))
    cases = types.ModuleType("cases")
    run(cases, package / "case" / "__init__.py")
    # Compares bytes by value: the suite compares pickles, which also depend on shared objects.
    cases.Case.compare = lambda self, one, other: one == other
    return cases
