"""Parts of the user's own, named as `package.module:function`, and whether they may be run.

To build one is to run somebody's code. A name on the command line or in an override from Python is
the user's own; one in the folder of a run may be a stranger's, and is imported only once the user
trusts it.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from candid.errors import ConfigError

# The settings that name one: sections and keys.
NAMED_PARTS = (("network", "module"), ("train", "loss"), ("augment", "extra"))

# The code of an error that may be the doing of such a part: numbers or shapes that cannot be.
FROM_PARTS = "parts"

ALL_PARTS = "*"  # in place of a name: whatever a run names

_trusted: set[str] = set()
_imported: dict[str, Any] = {}  # the functions of this process, by name


def is_named_part(word: object) -> bool:
    """Whether a word names a function: `package.module:function`."""
    if not isinstance(word, str):
        return False
    module, colon, function = word.partition(":")
    return bool(colon) and all(p.isidentifier() for p in [*module.split("."), *function.split(".")])


def list_named_parts(config: Any) -> dict[str, str]:
    """The parts that settings name, by section."""
    names = {s: getattr(getattr(config, s), key, "") for s, key in NAMED_PARTS}
    return {section: name for section, name in names.items() if is_named_part(name)}


def refuse_no_part(setting: str, name: str) -> None:
    """Raise a ConfigError where a setting is neither empty nor such a word."""
    if name and not is_named_part(name):
        raise ConfigError(
            f"{setting} = {name!r} names no function.",
            expected="package.module:function, in an installed package or the working folder",
            todo=f"set {setting}, or leave it out",
        )


def trust(name: str) -> None:
    """Let this process import and run a named part, or with `ALL_PARTS` any."""
    _trusted.add(name)


def distrust(name: str) -> None:
    """Undo `trust`."""
    _trusted.discard(name)


def import_trusted_part(name: str, what: str) -> Any:
    """The named function, imported from `sys.path` or the working folder.

    Raises ConfigError where nobody trusted it, or there is no such function.
    """
    if not _trusted & {name, ALL_PARTS}:
        raise ConfigError(
            f"{what} is made by {name}, which is no part of Candid: to use it is to run that code.",
            expected="your leave to import it",
            todo="look at that code, then say --trust (in Python: candid.open_run(run, "
            "trust=True))",
        )
    return import_part(name, what)


def import_part(name: str, what: str) -> Any:
    """As `import_trusted_part`, for a name of the user's own."""
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)  # behind all that is installed, which it must not replace
    module, _, function = name.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in function.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{what} is made by {name}, which cannot be imported: {error}",
            expected="package.module:function, in an installed package or the working folder",
            todo="install the package, go to its folder, or mend the name",
        ) from error
    except Exception as error:  # whatever the user's code raises while it is imported
        raise ConfigError(
            f"{what} is made by {name}, which cannot be imported: {format_error(error)}.",
            expected="a module that can be imported",
            todo="mend it",
        ) from error
    _imported[name] = value
    return value


# --- where a part failed -------------------------------------------------------------------------


def format_error(error: BaseException, location: str = "") -> str:
    """An error's type, message and place, by default in no library's file."""
    location = location or find_user_line(error, anywhere=True)
    suffix = f" ({location})" if location and not isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {error}{suffix}"


def find_user_line(error: BaseException, *, anywhere: bool = False) -> str:
    """The innermost line of the user's that an error came through, "FILE, line 3"; "" if none.

    It is of an imported part, or of what that calls, but no library's; `anywhere`: of any file that
    is neither a library's nor Candid's.
    """
    prefixes = tuple(file for name in _imported for file in _files_of(name))
    location, is_inside = "", anywhere
    for frame in traceback.extract_tb(error.__traceback__):
        is_own = frame.filename.startswith(prefixes) if prefixes else False
        is_inside = is_inside or is_own
        if is_own or (is_inside and not _is_library(frame.filename)):
            location = f"{frame.filename}, line {frame.lineno}"
    return location


def defined_at(name: str) -> str:
    """Where an imported part is defined, as `find_user_line`; "" where unknown."""
    try:
        function = inspect.unwrap(_imported[name])
        return f"{inspect.getfile(function)}, line {inspect.getsourcelines(function)[1]}"
    except (KeyError, OSError, TypeError):
        return ""


def _files_of(name: str) -> list[str]:
    """Prefixes of the files of a part's module or package."""
    top = sys.modules.get(name.partition(":")[0].partition(".")[0])
    folders = [os.path.join(folder, "") for folder in getattr(top, "__path__", ())]
    return folders or [file for file in [getattr(top, "__file__", None)] if file]


def _is_library(file: str) -> bool:
    """Whether a file is Candid's, a library's, or no file."""
    folders = {sysconfig.get_path(scheme) for scheme in ("stdlib", "purelib", "platlib")}
    folders.add(str(Path(__file__).parents[1]))
    return file.startswith(("<", *(os.path.join(scheme, "") for scheme in folders)))
