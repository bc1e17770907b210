"""Writing the page as a static site, or as one HTML file, that counts in the visitor's browser.

The site is made of the same files as the page of `headcount serve`. Its Content-Security-Policy allows no connection
except to the site's own files; that of the single file allows none at all.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

from headcount.inference.engines import EngineError, ModelMeta, open_engine
from headcount.inference.engines.base import is_exported
from headcount.inference.pretrained import find_model
from headcount.io.files import atomic_write
from headcount.page import BUILT, STATIC

EXAMPLE = Path(__file__).parents[1] / "examples" / "crowd.jpg"
NOT_COPIED = ("page.html", "icon.svg", "sw.js")  # files of the page that go elsewhere, or change
PUBLIC = (
    "name",
    "unit",
    "stride",
    "pad",
    "halo",
    "min_side",
    "spacing",
    "limits",
    "padding_color",
    "interval",
    "version",
)
STYLE = '<link rel="stylesheet" href="/static/page.css" />'
SCRIPT = '<script type="module" src="/static/page.js"></script>'
POLICY = (
    "default-src 'none'; script-src {code} 'wasm-unsafe-eval'; style-src {style}; img-src {own}blob: data:; "
    "media-src blob:; connect-src {connect}; worker-src {own}blob:; {manifest}base-uri 'none'; form-action 'none'"
)


def write_site(folder: Path, model: str | Path | None = None) -> list[Path]:
    """Write the site's files.

    Args:
        folder: where; it is created. Files of an earlier site are replaced.
        model: an .onnx file or the name of a bundled model; None is the default model.

    Returns:
        The files.

    Raises:
        EngineError: the model cannot be used; one line.
        OSError: a file cannot be written.
    """
    files = {f"static/{file.name}": file.read_bytes() for file in STATIC.iterdir() if file.name not in NOT_COPIED}
    files |= assets(model)
    files |= {file.name: file.read_bytes() for file in BUILT.iterdir() if file.name != "page.js"}
    files |= {"icon.svg": (STATIC / "icon.svg").read_bytes(), "manifest.webmanifest": manifest(), "index.html": index()}
    cached = sorted(name for name in files if not name.endswith(".d.ts") and name != "index.html")
    digest = hashlib.sha256(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()[:16]
    worker = (STATIC / "sw.js").read_text(encoding="utf-8")
    worker = worker.replace('"VERSION"', json.dumps(digest)).replace('["FILES"]', json.dumps(["./", *cached]))
    files["sw.js"] = worker.encode()
    for name, content in files.items():
        write(folder / name, content)
    return [folder / name for name in sorted(files)]


def write_file(path: Path, model: str | Path | None = None) -> None:
    """Write the page as one HTML file, which also works where no server is, opened from a disk.

    Args:
        path: the file.
        model: as in `write_site`.

    Raises:
        EngineError: the model cannot be used; one line.
        OSError: the file cannot be written.
    """
    style = (STATIC / "page.css").read_text(encoding="utf-8")
    script = (BUILT / "page.js").read_text(encoding="utf-8").replace("</script", "<\\/script")
    files = {**assets(model), "worker.js": (BUILT / "worker.js").read_bytes()}
    files["runtime.wasm.gz"] = (BUILT / "runtime.wasm.gz").read_bytes()
    policy = POLICY.format(code=hash_source(script), style=hash_source(style), own="", connect="'none'", manifest="")
    page = in_browser(policy)
    page = page.replace(STYLE, f"<style>{style}</style>").replace(SCRIPT, "")
    data = "\n".join(
        f'<script type="text/plain" id="asset:{name}">{base64.b64encode(compressed(name, content)).decode()}</script>'
        for name, content in files.items()
    )
    page = page.replace("</body>", f"{data}\n<script>{script}</script>\n</body>")
    write(path, page.encode())


def assets(model: str | Path | None) -> dict[str, bytes]:
    """The model, what it says about itself, and the example photo, by the names under which the page asks for them.

    Raises:
        EngineError: there is no such model, or it is not an .onnx file.
    """
    path = find_model(model)
    if path.exists() and not is_exported(path):
        raise EngineError(f"{path}: a browser runs .onnx files; make one with: headcount export")
    meta = public_facts(open_engine(path).meta)
    return {
        "model.onnx": path.read_bytes(),
        "model.json": json.dumps(meta, sort_keys=True).encode(),
        "example.jpg": EXAMPLE.read_bytes(),
    }


def public_facts(meta: ModelMeta) -> dict[str, object]:
    """What the page needs to know of a model."""
    return {name: value for name, value in asdict(meta).items() if name in PUBLIC}


def index() -> bytes:
    """The page of the site."""
    policy = POLICY.format(
        code="'self'", style="'self'", own="'self' ", connect="'self'", manifest="manifest-src 'self'; "
    )
    links = '<link rel="manifest" href="manifest.webmanifest" />'
    return in_browser(policy).replace("</head>", f"  {links}\n  </head>").replace('"/static/', '"static/').encode()


def in_browser(policy: str) -> str:
    """page.html with the engine of the browser and a Content-Security-Policy."""
    page = (STATIC / "page.html").read_text(encoding="utf-8")
    security = f'<meta http-equiv="Content-Security-Policy" content="{policy}" />'
    page = page.replace('data-engine="server"', 'data-engine="browser"', 1)
    return page.replace("<head>", f"<head>\n    {security}", 1)


def manifest() -> bytes:
    """What makes the site installable."""
    icon = {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"}
    style = (STATIC / "page.css").read_text(encoding="utf-8")
    accent = re.search(r"--accent:\s*(#\w+)", style)
    return json.dumps(
        {
            "name": "headcount",
            "short_name": "headcount",
            "description": "Counts the people in photos on this device.",
            "start_url": "./",
            "scope": "./",
            "display": "standalone",
            "background_color": "#ffffff",
            "theme_color": accent[1] if accent else "#0b6a72",
            "icons": [icon],
        },
        indent=1,
    ).encode()


def hash_source(text: str) -> str:
    """The expression of a Content-Security-Policy that allows one inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def compressed(name: str, content: bytes) -> bytes:
    """The content of a file, compressed unless it is already; the time in the header is fixed."""
    return content if name.endswith((".gz", ".jpg")) else gzip.compress(content, 9, mtime=0)


def write(path: Path, content: bytes) -> None:
    """Write a whole file or none; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        file.write(content)
