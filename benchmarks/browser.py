"""Time photos in the browser beside `headcount count`, on this machine, and measure the tab's memory.

    python benchmarks/browser.py [--photos 50]

The site of `headcount page` is served from this machine and opened in Chromium, on one thread and then on all. The same
rendered photos are counted in Python by the engine that `headcount count` takes. Prints a Markdown table; then the
memory of the tab after a photo of 24 megapixels, and before and after many photos.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.browser import chromium, file_server

from headcount.inference import load
from headcount.page import write_site
from headcount.synthetic.scenes import render

SIZES = ((640, 480), (1024, 768), (2000, 1500), (4000, 3000), (6000, 4000))
OPEN = "async () => { globalThis.counter = await (await import('/headcount.js')).open(); return counter.threads; }"
COUNT = """async (data) => {
  const file = new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], {type: "image/jpeg"});
  const began = performance.now(), { count } = await counter.count(file);
  return [count, (performance.now() - began) / 1000];
}"""


def jpeg(width: int, height: int, seed: int = 1) -> bytes:
    """A photo of 300 rendered people, enlarged to this size."""
    scene = render(seed, 300, 1024, round(1024 * height / width)).image
    file = io.BytesIO()
    Image.fromarray(scene).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


def processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"


def memory(browser, kind: str) -> int:
    """Megabytes of the largest tab: VmHWM at its peak, VmRSS now."""
    session = browser.new_browser_cdp_session()
    tabs = [one for one in session.send("SystemInfo.getProcessInfo")["processInfo"] if one["type"] == "renderer"]
    status = [Path(f"/proc/{tab['id']}/status").read_text() for tab in tabs]
    return max(int(re.search(rf"{kind}:\s+(\d+)", text)[1]) for text in status) // 1000


def open_site(browser, address: str, visits: int):
    page = browser.new_page()
    page.set_default_timeout(600_000)
    for _ in range(visits):  # from the second visit on, threads are allowed
        page.goto(address)
        page.locator("html[data-offline]").wait_for()
    page.evaluate("delete globalThis.counter")
    return page, page.evaluate(OPEN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=50, help="small photos in a row")
    arguments = parser.parse_args()
    counter = load()
    photos = [(width, height, jpeg(width, height)) for width, height in SIZES]
    counter.count(photos[0][2])
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        write_site(Path(folder))
        with file_server(folder) as address:
            page, threads = open_site(browser, address, 1)
            page.evaluate(COUNT, base64.b64encode(photos[0][2]).decode())
            print(f"{processor()}; {threads} thread in the browser; headcount count: {counter.engine.precision}\n")
            print("| photo | browser | headcount count | difference |\n|---|---|---|---|")
            for width, height, data in photos:
                count, seconds = page.evaluate(COUNT, base64.b64encode(data).decode())
                began = time.perf_counter()
                expected = counter.count(data).count
                python = time.perf_counter() - began
                change = 100 * (count / expected - 1)
                print(f"| {width} x {height} | {seconds:.1f} s | {python:.1f} s | {change:+.2f} % |", flush=True)
            print(f"\ntab after 24 megapixels: {memory(browser, 'VmHWM')} MB at its peak")
            small = [base64.b64encode(jpeg(448, 448, seed)).decode() for seed in range(5)]
            figures = []
            for number in range(arguments.photos):
                page.evaluate(COUNT, small[number % 5])
                if number in (arguments.photos // 5, arguments.photos - 1):
                    figures.append(memory(browser, "VmRSS"))
            print(f"{arguments.photos} photos: {figures[0]} MB after a fifth of them, {figures[1]} MB at the end")
            page.close()
            page, threads = open_site(browser, address, 2)
            page.evaluate(COUNT, base64.b64encode(photos[0][2]).decode())
            times = [page.evaluate(COUNT, base64.b64encode(data).decode())[1] for *_, data in photos[:3]]
            print(f"{threads} threads: " + ", ".join(f"{seconds:.1f} s" for seconds in np.round(times, 2)))


if __name__ == "__main__":
    main()
