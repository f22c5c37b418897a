import ast
import subprocess
import sys
from pathlib import Path

import pytest

import candid
from layers import ARROWS, FOR_OTHERS, HEAVY, TOP

SOURCE = Path(candid.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))


def wing(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def name_of(path: Path) -> str:
    parts = ["candid", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            # "from candid.training import checkpoint" names a module, "import Path" does not.
            for a in node.names:
                inner = SOURCE.parent / Path(*f"{node.module}.{a.name}".split("."))
                if inner.with_suffix(".py").exists() or inner.is_dir():
                    found.add(f"{node.module}.{a.name}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_arrows(path):
    here = wing(name_of(path))
    if here in TOP:
        return
    assert here in ARROWS, f"{here} has no place in the house: add it to layers.py"
    outside = {wing(m) for m in imports_of(path) if m.split(".")[0] == "candid"} - {here}
    if "candid" in imports_of(path):
        outside.add("")
    outside -= {""} if "" in ARROWS[here] or not outside & {""} else set()
    assert outside <= ARROWS[here]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_the_command_line(path):
    if name_of(path) != "candid.__main__" and wing(name_of(path)) != "cli":
        assert "candid.cli" not in imports_of(path)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_what_is_for_others(path):
    assert not imports_of(path) & FOR_OTHERS


def test_arrows_have_no_circle():
    order: list[str] = []
    waiting = {k: v - {""} for k, v in ARROWS.items()}
    while waiting:
        free = [k for k, v in waiting.items() if v <= set(order)]
        assert free, f"a circle among {sorted(waiting)}"
        order += free
        waiting = {k: v for k, v in waiting.items() if k not in free}


def test_modules_have_no_circle():
    names = {name_of(p): p for p in MODULES}
    graph = {n: {m for m in imports_of(p) if m in names and m != n} for n, p in names.items()}
    # A package's door imports its rooms, and a room's import of a sibling names the package first.
    for name in graph:
        graph[name] -= {".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)}
    done: set[str] = set()
    while len(done) < len(graph):
        free = {n for n, needs in graph.items() if n not in done and needs <= done}
        assert free, f"a circle among {sorted(set(graph) - done)}"
        done |= free


def test_public_names_are_defined_once():
    """No function or class has a name that another module defines, too, as whatever it be."""
    defined: dict[str, list[str]] = {}
    kinds: dict[str, set[type]] = {}
    for path in MODULES:
        module = name_of(path)
        if module in FOR_OTHERS:
            continue
        named = {
            (n, type(node)) for node in ast.parse(path.read_text()).body for n in names_in(node)
        }
        for name, kind in named:
            defined.setdefault(name, []).append(module)
            kinds.setdefault(name, set()).add(kind)
    defs = {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef}
    assert not {n: where for n, where in defined.items() if len({*where}) > 1 and kinds[n] & defs}


def names_in(node: ast.stmt) -> list[str]:
    """The public names that a statement at the top of a module defines; imports define none."""
    found: list[str] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        found = [node.name]
    elif isinstance(node, ast.Assign):
        found = [target.id for target in node.targets if isinstance(target, ast.Name)]
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        found = [node.target.id]
    return [name for name in found if not name.startswith("_")]


@pytest.mark.parametrize("step", [1, -1])
def test_light_imports(step):
    """Importing everything else loads nothing that only some places need.

    In one process each kind of place is imported after the libraries of those that follow were
    seen to be absent; in the other the order is the reverse, so that each is held to each.
    """
    kinds = sorted({where for where in HEAVY.values() if where})[::step]
    names = [name for p in MODULES if (name := name_of(p)) not in FOR_OTHERS]
    light = [n for n in names if not n.startswith(sum(kinds, ()))]
    lines = ["import sys"]
    for i in range(len(kinds) + 1):
        mine, later = kinds[i - 1] if i else (), sum(kinds[i:], ())
        some = [n for n in names if n.startswith(mine) and not n.startswith(later)] if i else light
        absent = {name for name, where in HEAVY.items() if not where or where in kinds[i:]}
        lines += [f"import {n}" for n in some]
        lines.append(f"if found := {absent!r} & {{*sys.modules}}: sys.exit(f'{{sorted(found)}}')")
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, f"was imported: {done.stderr}"


def test_help_is_light():
    code = (
        "import sys\nfrom candid.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch','numpy','pyarrow','PIL','altair','jinja2'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout
