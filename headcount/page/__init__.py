"""The web page: its files, and a static site that counts in the visitor's browser.

`static/` is the page of `headcount serve` and of the site alike; its engine.js asks either the server or a worker.
`built/` is what `npm run build` in web/ makes of web/src: the worker with ONNX Runtime Web, the module for other pages,
and the page as one script. Both come with the wheel, so nobody needs Node to use them.
"""

from pathlib import Path

from headcount._lazy import lazy_names

STATIC = Path(__file__).parent / "static"
BUILT = Path(__file__).parent / "built"

__all__ = ["BUILT", "STATIC", "write_file", "write_site"]

__getattr__, __dir__ = lazy_names(__name__, {"write_file": "headcount.page.site", "write_site": "headcount.page.site"})
