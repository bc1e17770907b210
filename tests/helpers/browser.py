"""A real browser, and a plain server of files, for the tests of the page."""

import contextlib
import functools
import http.server
import shutil
import threading

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="testing the page needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("testing the page needs chromium on PATH", allow_module_level=True)

PATIENCE = 30_000  # milliseconds; the machine may be busy, and a browser counts on one thread


@contextlib.contextmanager
def chromium(*arguments):
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
        yield browser
        browser.close()


@contextlib.contextmanager
def file_server(folder):
    """Serves a folder as any static host does, without special headers. Gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
