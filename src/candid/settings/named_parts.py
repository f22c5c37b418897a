"""Parts of the user's own, named as `package.module:function`, and whether they may be run.

To build one is to run somebody's code. A name that the user gives, on the command line or as an
override from Python, is the user's own doing. One that stands in the folder of a run may be a
stranger's: it is imported only once the user trusts it.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from candid.errors import ConfigError

# The settings that name one: sections and keys.
NAMED_PARTS = (("network", "module"), ("train", "loss"), ("augment", "extra"))

EVERY = "*"  # in place of a name: whatever a run names

_trusted: set[str] = set()


def is_named_part(word: object) -> bool:
    """Whether a word names a function: `package.module:function`."""
    if not isinstance(word, str):
        return False
    module, colon, function = word.partition(":")
    return bool(colon) and all(p.isidentifier() for p in [*module.split("."), *function.split(".")])


def refuse_no_part(setting: str, name: str) -> None:
    """Raise a ConfigError where a setting is neither empty nor such a word."""
    if name and not is_named_part(name):
        raise ConfigError(
            f"{setting} = {name!r} names no function.",
            expected="package.module:function, in an installed package or the working folder",
            todo=f"set {setting}, or leave it out",
        )


def trust(name: str) -> None:
    """Let this process import and run a named part, or with `EVERY` any."""
    _trusted.add(name)


def distrust(name: str) -> None:
    """Take that back."""
    _trusted.discard(name)


def trusted_part(name: str, what: str) -> Any:
    """The function that a name means, imported from `sys.path` or the working folder.

    Raises ConfigError where nobody trusted it, or there is no such function.
    """
    if not _trusted & {name, EVERY}:
        raise ConfigError(
            f"{what} is made by {name}, which is no part of Candid: to use it is to run that code.",
            expected="your leave to import it",
            todo="look at that code, then say --trust (in Python: candid.open_run(run, "
            "trust=True))",
        )
    return imported_part(name, what)


def imported_part(name: str, what: str) -> Any:
    """As `trusted_part`, of a name that the user gave."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # behind all that is installed, which it must not replace
    module, _, function = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{what} is made by {name}, which cannot be imported: {error}",
            expected="package.module:function, in an installed package or the working folder",
            todo="install the package, go to its folder, or mend the name",
        ) from error
    return found
