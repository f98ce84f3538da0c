"""The rooms of the house: imports point one way, nothing is pickled, no file grows beyond one idea."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOOR = "hilserl"  # modules directly in hilserl/: config, runs, metrics, tasks, cli
MAY_IMPORT = {
    "data": set(),
    "teleop": {"data"},
    "classifier": {"data"},
    DOOR: {"data", "teleop", "classifier"},
    "hilserl.robot": {"data", "teleop", "classifier", DOOR},
    "hilserl.agents": {"data", "teleop", "classifier", DOOR},
}


def above(*rooms: str) -> set[str]:
    """Return these rooms and everything that they may import."""
    return set(rooms).union(*(MAY_IMPORT[r] for r in rooms))


MAY_IMPORT["hilserl.loop"] = above("hilserl.robot", "hilserl.agents")
MAY_IMPORT["hilserl.ui"] = above("hilserl.loop")
MAY_IMPORT["hilserl.commands"] = above("hilserl.ui")
MAY_IMPORT["sim_pretrain.world"] = above("hilserl.commands")
MAY_IMPORT["sim_pretrain.camera_fit"] = MAY_IMPORT["sim_pretrain.task"] = above("sim_pretrain.world")
MAY_IMPORT["sim_pretrain.rig"] = MAY_IMPORT["sim_pretrain.episodes"] = above("sim_pretrain.task")
MAY_IMPORT["sim_pretrain.distill"] = MAY_IMPORT["sim_pretrain.rl"] = above("sim_pretrain.episodes")
MAY_IMPORT["sim_pretrain.transfer"] = above("sim_pretrain.distill")
MAY_IMPORT["sim_pretrain"] = set(MAY_IMPORT)  # its commands: pretrain, demo
FOLDERS = sorted({room.split(".")[0] for room in MAY_IMPORT})
PICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
MAX_LINES = 300


def sources() -> dict[str, str]:
    """Return the text of every product module by its dotted name; packages by the name of their folder."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text()
    return found


def room(module: str) -> str:
    """Return the room that a module is in: `hilserl.loop` for hilserl.loop.env, `data` for data.schema."""
    inner = ".".join(module.split(".")[:2])
    return inner if inner in MAY_IMPORT else module.split(".")[0]


def imports(text: str, modules: set[str], package: str = "") -> Iterator[str]:
    """Yield every module that `text` imports, anywhere in it, as precisely as the known `modules` allow.

    A literal handed to `import_module` counts as an import; a variable does not (that is cli.py's dispatch).
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            is_import = ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
            yield from [str(node.args[0].value)] if is_import else []


def wrong_arrows(texts: dict[str, str]) -> list[str]:
    """Return `a imports b` for every import between rooms that the house does not have."""
    return [
        f"{module} imports {imported}"
        for module, imported in arrows(texts)
        if room(imported) != room(module) and room(imported) not in MAY_IMPORT[room(module)]
    ]


def arrows(texts: dict[str, str]) -> list[tuple[str, str]]:
    """Return (module, imported module) for every import of product code by product code."""
    modules = set(texts)
    packages = {m: m if any(n.startswith(f"{m}.") for n in modules) else m.rpartition(".")[0] for m in modules}
    found = ((m, i) for m, text in texts.items() for i in imports(text, modules, packages[m]))
    return sorted({(m, i) for m, i in found if i.split(".")[0] in FOLDERS})


def unsafe_loads(text: str) -> list[str]:
    """Return what in `text` could run code from a file: pickle and its like, torch.save, torch.load."""
    found = [name for name in imports(text, set()) if name.split(".")[0] in PICKLERS]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "torch":
            found += [f"torch.{alias.name}" for alias in node.names if alias.name in ("load", "save")]
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            is_off = isinstance(node.value, ast.Constant) and node.value.value is False
            found += [] if is_off else ["allow_pickle"]
    return found


def test_imports_follow_the_house() -> None:
    assert wrong_arrows(sources()) == []


def test_nothing_imports_the_command_line() -> None:
    assert [f"{m} imports {i}" for m, i in arrows(sources()) if i == "hilserl.cli"] == []


def test_modules_have_no_cycle() -> None:
    graph = TopologicalSorter[str]()
    for module, imported in arrows(sources()):
        if module != imported:
            graph.add(module, imported)
    graph.prepare()  # raises CycleError, which names the cycle


def test_nothing_is_pickled() -> None:
    assert {module: found for module, text in sources().items() if (found := unsafe_loads(text))} == {}


def test_files_are_short() -> None:
    paths = [p for f in FOLDERS for e in ("py", "js", "html", "css") for p in (ROOT / f).rglob(f"*.{e}")]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in paths}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_the_tree_is_seen() -> None:
    assert {"data.schema", "teleop.inputs", "hilserl.cli", "hilserl.robot"} <= set(sources())
    assert ("hilserl.cli", "data.errors") in arrows(sources())


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("data.a", "import hilserl.runs"),
        ("data.a", "from teleop import inputs"),
        ("teleop.a", "from classifier.b import x"),
        ("classifier.a", "def f():\n    import hilserl"),
        ("hilserl.a", "importlib.import_module('sim_pretrain.demo')"),
        ("hilserl.config", "from hilserl.loop import env"),
        ("hilserl.robot.a", "from hilserl.agents.b import x"),
        ("hilserl.agents.a", "from ..loop import env"),
        ("hilserl.loop.a", "from hilserl import ui"),
        ("hilserl.ui.a", "import hilserl.commands.train as t"),
        ("hilserl.commands.a", "if TYPE_CHECKING:\n    from sim_pretrain.world.physics import World"),
    ],
)
def test_a_wrong_arrow_is_found(module: str, line: str) -> None:
    others = dict.fromkeys(["hilserl.ui", "hilserl.ui.b", "hilserl.loop", "hilserl.loop.env"], "")
    assert len(wrong_arrows({**others, module: line})) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("teleop.a", "from data.schema import Source"),
        ("hilserl.loop.a", "from hilserl.robot.b import x"),
        ("hilserl.loop.a", "from . import env"),
        ("hilserl.agents.a", "from hilserl.config import x"),
        ("hilserl.cli", "importlib.import_module(command.module)"),
        ("sim_pretrain.a", "import hilserl.commands.train"),
    ],
)
def test_a_right_arrow_is_allowed(module: str, line: str) -> None:
    assert wrong_arrows({"hilserl.loop.env": "", module: line}) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle as c",
        "torch.load(path, weights_only=True)",
        "from torch import save",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
    ],
)
def test_pickle_is_found(line: str) -> None:
    assert len(unsafe_loads(line)) == 1


def test_plain_numpy_is_allowed() -> None:
    assert unsafe_loads("np.load(path, allow_pickle=False); safetensors.torch.load(data)") == []
