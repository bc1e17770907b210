"""The house rules that a machine can check: imports never go up, and counting never needs torch."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "headcount"
FLOORS = [
    {
        *(
            "__init__",
            "points",
            "matlab",
            "tables",
            "entries",
            "layouts",
            "labels",
            "formats",
            "check",
            "twins",
            "media",
            "video",
            "film",
            "scenes",
            "scenery",
            "textures",
            "metrics",
            "paper",
        ),
        *("heatmap", "heads", "regions", "outlines", "objects"),
    },
    {"targets", "backbones", "fusion", "model", "peers", "losses"},
    {
        *(
            "config",
            "data",
            "train",
            "begin",
            "ranks",
            "state",
            "evaluate",
            "calibrate",
            "engines",
            "tiles",
            "counter",
            "export",
        ),
        *("quantise", "figures", "diagnose", "lab", "report", "reproduce", "pool", "jobs", "uploads", "project"),
        *("finetune", "restore", "ensemble"),
    },
    {"cli", "tally", "output", "__main__", "server", "api", "service", "scale", "shards"},
]
COUNTING = {"engines", "tiles", "counter", "evaluate", "calibrate", "pool", "jobs", "uploads", "project"}
TORCH_FREE = FLOORS[0] | COUNTING | FLOORS[3]
ROOMS = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")}


def floor_of(room):
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def rooms_imported(tree):
    """Every headcount module that is imported anywhere in `tree`, lazily too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield from [node.module] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("headcount."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_floor_and_imports_never_go_up(room):
    for other in rooms_imported(ROOMS[room]):
        if other in ROOMS:
            assert floor_of(other) <= floor_of(room), f"{room}.py imports {other}.py, a floor above it"


@pytest.mark.parametrize("room", sorted(TORCH_FREE & set(ROOMS)))
def test_counting_rooms_import_nothing_heavy_at_the_top(room):
    tops = [n for n in ROOMS[room].body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for n in tops if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module.split(".")[0] for n in tops if isinstance(n, ast.ImportFrom) and n.level == 0 and n.module}
    heavy = {"torch", "scipy", "onnx", "onnxruntime", "h5py", "safetensors", "shapely", "av", "matplotlib"}
    assert not names & (heavy | {"ray", "pyarrow", "pandas"})


def test_nothing_unpickles():
    for name, tree in ROOMS.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" for k in node.keywords), f"{name}.py: torch.load of anything"
            if isinstance(node, ast.Import):
                assert "pickle" not in {alias.name for alias in node.names}, name


def test_the_design_names_every_room():
    design = (PACKAGE.parent / "docs" / "design.md").read_text()
    missing = [name for name in ROOMS if not name.startswith("_") and f"{name}.py" not in design]
    assert not missing, f"docs/design.md says nothing of {missing}"
