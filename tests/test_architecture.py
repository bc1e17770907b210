"""Rules of the code that a machine can check.

Packages import only from lower layers and without circles, counting does not need torch, and files stay short.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import headcount

PACKAGE = Path(__file__).parents[1] / "headcount"
# Each layer imports only from itself (within one package) and from the layers above it in this list.
LAYERS = (
    {"_extras", "_lazy", "_settings"},
    {"__init__"},
    {"io", "visualization", "geometry", "provenance"},
    {"models", "regions", "datasets", "synthetic"},
    {"inference"},
    {"page"},
    {"server", "distributed", "deployment", "evaluation"},
    {"training"},
    {"reproduction"},
    {"cli"},
    {"__main__"},
)
TORCH_PACKAGES = {"models", "training", "deployment", "reproduction"}
HEAVY = {
    *("torch", "scipy", "onnx", "onnxruntime", "openvino", "h5py", "safetensors", "shapely", "av", "matplotlib"),
    *("ray", "pyarrow", "pandas", "nncf", "msgspec", "defusedxml", "yaml"),
}
MAX_LINES = 400
MAX_ANY = 30


def module_name(path: Path) -> str:
    """cli.main for headcount/cli/main.py, cli for headcount/cli/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


SOURCES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
MODULES = {module: ast.parse(path.read_text()) for module, path in SOURCES.items()}


def package_of(module: str) -> str:
    return module.split(".")[0]


def layer_of(module: str) -> int:
    found = [i for i, packages in enumerate(LAYERS) if package_of(module) in packages]
    assert found, f"headcount.{package_of(module)} is in no layer; add it to LAYERS in {Path(__file__).name}"
    return found[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported(module: str) -> Iterator[tuple[str, int]]:
    """Every headcount module that a module imports, also inside functions, and in which line."""
    tree = MODULES[module]
    if module == "__init__":  # its TYPE_CHECKING block only repeats the public names, which are imported lazily
        tree = ast.Module([node for node in tree.body if not is_type_checking(node)], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(module, node.lineno)} has a relative import; write headcount...."
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "headcount":
                known = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
                yield next((module for module in known if module in MODULES), "__init__"), node.lineno


def place(module: str, line: int) -> str:
    """The file and line for a failure message."""
    return f"{SOURCES[module].relative_to(PACKAGE.parent)}:{line}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module):
    for other, line in imported(module):
        lower = layer_of(other) < layer_of(module)
        assert lower or package_of(other) == package_of(module), (
            f"{place(module, line)} imports headcount.{other}, but {package_of(module)} is in layer {layer_of(module)} "
            f"and {package_of(other)} in layer {layer_of(other)}; move the shared code to a lower layer"
        )


def test_no_import_circles():
    plain = [module for module in MODULES if "." in module or not (PACKAGE / module).is_dir()]
    graph = {module: {other for other, _ in imported(module)} - {module, "__init__"} for module in plain}
    while leaves := [module for module, others in graph.items() if not others & graph.keys()]:
        for module in leaves:
            del graph[module]
    arrows = [f"{module} -> {other}" for module, others in sorted(graph.items()) for other in sorted(others & {*graph})]
    assert not graph, "these modules import each other in a circle, or import such modules:\n" + "\n".join(arrows)


@pytest.mark.parametrize("module", sorted(m for m in MODULES if package_of(m) not in TORCH_PACKAGES))
def test_counting_imports_nothing_heavy_at_the_top(module):
    for node in MODULES[module].body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            assert name.split(".")[0] not in HEAVY, (
                f"{place(module, node.lineno)} imports {name} at the top of the module; "
                "import it in the function that needs it, or under TYPE_CHECKING"
            )


def test_importing_headcount_loads_neither_torch_nor_openvino():
    code = "import sys, headcount; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "headcount" in loaded
    heavy = {"torch", "openvino", "numpy", "cv2"} & set(loaded)
    assert not heavy, f"`import headcount` imports {', '.join(sorted(heavy))}"


@pytest.mark.parametrize("name", headcount.__all__)
def test_every_public_name_is_found_on_first_use(name):
    assert name in dir(headcount)
    assert getattr(headcount, name).__name__ == name


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'headcount' has no attribute 'nothing'"):
        headcount.nothing  # noqa: B018


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_unpickles(module):
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            safe = any(keyword.arg == "weights_only" for keyword in node.keywords)
            assert safe, f"{place(module, node.lineno)}: torch.load without weights_only can run code from the file"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert "pickle" not in names, f"{place(module, node.lineno)} imports pickle, which can run code from a file"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_files_are_short(module):
    lines = len(SOURCES[module].read_text().splitlines())
    assert lines <= MAX_LINES, f"{place(module, lines)}: more than {MAX_LINES} lines; split it by subject"


@pytest.mark.parametrize("module", sorted(m for m, path in SOURCES.items() if path.name == "__init__.py"))
def test_every_package_says_what_it_is_for(module):
    assert ast.get_docstring(MODULES[module]), f"{place(module, 1)} has no docstring"


def test_annotations_rarely_use_any():
    places = [
        place(module, node.lineno)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "Any"
    ]
    assert len(places) <= MAX_ANY, f"{len(places)} annotations use Any, at most {MAX_ANY} may:\n" + "\n".join(places)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_no_public_name_is_a_module_of_its_package(path):
    """Importing the module would bind it to that name in the package, in place of the function."""
    public = next((ast.literal_eval(node.value) for node in ast.parse(path.read_text()).body if is_all(node)), [])
    assert not set(public) & {module.stem for module in path.parent.iterdir()}


def is_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
