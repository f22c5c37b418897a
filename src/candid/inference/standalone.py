"""One Python file from several: a module with the code that it imports from this package."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "candid"
_Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


def standalone(source: str) -> str:
    """The module `source` with the code of all that it imports from Candid, recursively.

    Imports from other libraries stay. Raises ValueError where two modules define a name
    differently.
    """
    collector = _Collector()
    module = _Module.parsed(source)
    for name in module.definitions:
        collector.add(module, name)
    docstring = ast.get_docstring(module.tree, clean=False)
    future = "from __future__ import annotations\n"
    lines = [f'"""{docstring}"""\n', future, *sorted(collector.imports)]
    return "\n".join(lines) + "\n\n\n" + "\n\n\n".join(collector.parts) + "\n"


@dataclass(frozen=True)
class _Module:
    """A module's text, its definitions and its imports."""

    text: str
    tree: ast.Module
    definitions: dict[str, _Definition]
    imports: dict[str, tuple[str, str]]  # by name: the module (itself: "") and the name there

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
class _Collector:
    """Collects definitions, each after those that it uses."""

    parts: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    _texts: dict[str, str] = field(default_factory=dict)  # by name: its definition
    _modules: dict[str, _Module] = field(default_factory=dict)

    def add(self, module: _Module, name: str) -> None:
        text = module.source(name)
        if name in self._texts:
            if self._texts[name] != text:
                raise ValueError(f"two modules define {name}")
            return
        self._texts[name] = text
        names = (n.id for n in ast.walk(module.definitions[name]) if isinstance(n, ast.Name))
        for used in dict.fromkeys(names):
            if used in module.definitions:
                self.add(module, used)
            elif used in module.imports:
                self._add_import(*module.imports[used], used)
        self.parts.append(text)

    def _add_import(self, module: str, name: str, used: str) -> None:
        if module.split(".")[0] == _PACKAGE:
            if name != used:
                raise ValueError(f"{name} of {module} has another name, {used}")
            self.add(self._module(module), name)
            return
        clause = name if name == used else f"{name} as {used}"
        self.imports.add(f"from {module} import {clause}" if module else f"import {clause}")

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            spec = find_spec(name)
            if spec is None or spec.origin is None:
                raise ValueError(f"there is no module {name}")
            self._modules[name] = _Module.parsed(Path(spec.origin).read_text("utf-8"))
        return self._modules[name]
