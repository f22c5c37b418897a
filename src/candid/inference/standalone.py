"""One file of Python from several: a module with all that it takes from this package written in."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "candid"
_Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


def standalone(source: str) -> str:
    """The module `source` with every function, class and constant that it imports from Candid.

    What these use in turn comes with them; what other libraries bring stays an import. Raises
    ValueError where two modules mean different things by one name.
    """
    found = _Found()
    module = _Module.parsed(source)
    for name in module.definitions:
        found.add(module, name)
    head = ast.get_docstring(module.tree, clean=False)
    lines = [f'"""{head}"""\n', "from __future__ import annotations\n", *sorted(found.imports)]
    return "\n".join(lines) + "\n\n\n" + "\n\n\n".join(found.parts) + "\n"


@dataclass(frozen=True)
class _Module:
    """A module's text, and what each of its names is."""

    text: str
    tree: ast.Module
    definitions: dict[str, _Definition]
    imports: dict[str, tuple[str, str]]  # from which module (itself: "") and as what there

    @staticmethod
    def parsed(text: str) -> _Module:
        tree = ast.parse(text)
        definitions: dict[str, _Definition] = {}
        imports: dict[str, tuple[str, str]] = {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                imports |= {a.asname or a.name: (node.module or "", a.name) for a in node.names}
            elif isinstance(node, ast.Import):
                imports |= {a.asname or a.name: ("", a.name) for a in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                definitions[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                definitions |= {t.id: node for t in targets if isinstance(t, ast.Name)}
        return _Module(text, tree, definitions, imports)

    def source(self, name: str) -> str:
        """The lines of a definition, with its decorators."""
        node = self.definitions[name]
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(d.lineno for d in decorators)])
        return "\n".join(self.text.splitlines()[first - 1 : node.end_lineno])


@dataclass
class _Found:
    """What is written so far; a definition stands behind all that it uses."""

    parts: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    _from: dict[str, str] = field(default_factory=dict)  # a name and the text that defines it
    _modules: dict[str, _Module] = field(default_factory=dict)

    def add(self, module: _Module, name: str) -> None:
        text = module.source(name)
        if name in self._from:
            if self._from[name] != text:
                raise ValueError(f"two modules define {name}")
            return
        self._from[name] = text
        names = (n.id for n in ast.walk(module.definitions[name]) if isinstance(n, ast.Name))
        for used in dict.fromkeys(names):
            if used in module.definitions:
                self.add(module, used)
            elif used in module.imports:
                self._bring(*module.imports[used], used)
        self.parts.append(text)

    def _bring(self, where: str, name: str, used: str) -> None:
        if where.split(".")[0] == _PACKAGE:
            if name != used:
                raise ValueError(f"{name} of {where} has another name, {used}")
            self.add(self._module(where), name)
            return
        named = name if name == used else f"{name} as {used}"
        self.imports.add(f"from {where} import {named}" if where else f"import {named}")

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            spec = find_spec(name)
            if spec is None or spec.origin is None:
                raise ValueError(f"there is no module {name}")
            self._modules[name] = _Module.parsed(Path(spec.origin).read_text("utf-8"))
        return self._modules[name]
