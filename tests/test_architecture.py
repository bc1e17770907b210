"""The rules of the house that a machine can check: packages import downward only, without circles, and counting never
needs torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "headcount"
# Each layer imports from the layers below it and from nowhere else.
LAYERS = (
    {"__init__", "_extras", "_lazy", "_settings"},
    {"io", "visualization", "geometry", "provenance"},
    {"models", "regions", "datasets", "synthetic"},
    {"inference"},
    {"server", "distributed", "deployment", "evaluation"},
    {"training"},
    {"reproduction"},
    {"cli"},
    {"__main__"},
)
TORCH_PACKAGES = {"models", "training", "deployment", "reproduction"}
HEAVY = {
    *("torch", "scipy", "onnx", "onnxruntime", "openvino", "h5py", "safetensors", "shapely", "av", "matplotlib"),
    *("ray", "pyarrow", "pandas", "nncf", "msgspec"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def package_of(module: str) -> str:
    return module.split(".")[0]


def layer_of(module: str) -> int:
    found = [i for i, packages in enumerate(LAYERS) if package_of(module) in packages]
    assert found, f"{module}: name its package in LAYERS"
    return found[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Every headcount module that `tree` imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "headcount":
                known = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
                yield next((module for module in known if module in MODULES), "__init__")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module):
    for other in imported(MODULES[module]):
        same_package = package_of(other) == package_of(module)
        assert same_package or layer_of(other) < layer_of(module), f"{module} imports {other}, which is not below it"


def test_no_circle_of_imports():
    plain = [module for module in MODULES if "." in module or not (PACKAGE / module).is_dir()]
    graph = {module: set(imported(MODULES[module])) - {module, "__init__"} for module in plain}
    while leaves := [module for module, others in graph.items() if not others & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph, f"these modules import each other, or those that do: {sorted(graph)}"


@pytest.mark.parametrize("module", sorted(m for m in MODULES if package_of(m) not in TORCH_PACKAGES))
def test_counting_imports_nothing_heavy_at_the_top(module):
    tops = [node for node in MODULES[module].body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for node in tops if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split(".")[0] for node in tops if isinstance(node, ast.ImportFrom) and node.module}
    assert not names & HEAVY


def test_importing_headcount_loads_neither_torch_nor_openvino():
    code = "import sys, headcount; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "headcount" in loaded
    assert not {"torch", "openvino", "numpy", "cv2"} & set(loaded)


def test_nothing_unpickles():
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" for k in node.keywords), f"{name}: torch.load of anything"
            if isinstance(node, ast.Import):
                assert "pickle" not in {alias.name for alias in node.names}, name


def test_files_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    long = {str(path.relative_to(PACKAGE)): length for path, length in lengths.items() if length > 400}
    assert not long, f"over 400 lines, each should be two: {long}"


def test_every_package_says_what_it_is_for():
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path.parent.name}/__init__.py has no docstring"
