"""Attack headcount serve, and see whether it goes on serving.

    python benchmarks/attack.py [--only NAME ...] [--seconds 20] [--max-memory 6]

A server is started for each attack, on the loopback interface with the default model. While clients attack it, another
asks /healthz four times a second and a third has an honest photo counted again and again. Prints, for each attack, what
the attackers got, how long both waited at most, the most memory that the server and its children took, and how long the
first honest photo took after the attack. A server over the limit of memory is killed, as a small machine would do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import httpx
import numpy as np
from hostile_images import encoded, progressive_jpeg, tile_bomb
from PIL import Image

from headcount.synthetic.scenes import render

WAIT = 60.0  # seconds that a client waits for an answer
Attack = Callable[[httpx.Client], str]  # one request; what the attacker got


def send(path: str, body: bytes) -> Attack:
    return lambda client: str(client.post(path, content=body).status_code)


def send_regions(regions: list[dict]) -> Attack:
    photo, text = honest_photo(), json.dumps({"regions": regions})
    return lambda client: str(
        client.post("/v1/count", files={"file": ("a.jpg", photo)}, data={"regions": text}).status_code
    )


def honest_photo() -> bytes:
    return cv2.imencode(".jpg", render(1, 80, width=768, height=576).image[..., ::-1])[1].tobytes()


def comb(corners: int) -> dict:
    """A region of thin teeth over the whole photo."""
    x = np.linspace(1, 760, corners // 2)
    teeth = [[round(float(at), 3), 5 if i % 2 else 500] for i, at in enumerate(x)]
    return {"name": "comb", "polygon": [*teeth, [760, 570], [1, 570]]}


def odd_method(client: httpx.Client) -> str:
    return str(client.request("M" + os.urandom(4000).hex(), "/healthz").status_code)


def large_jpeg(pixels: np.ndarray) -> bytes:
    """100 megapixels that repeat uint8 (h,w,3)."""
    times = (*(math.ceil(10_000 / side) for side in pixels.shape[:2]), 1)
    return encoded(Image.fromarray(np.tile(pixels, times)[:10_000, :10_000]), "JPEG", quality=80)


def large_webp() -> bytes:
    return encoded(Image.effect_noise((10_000, 10_000), 60).convert("RGB"), "WEBP", quality=1)


def same_names() -> list[dict]:
    regions = [{"name": f"r{i}", "polygon": [[0, 0], [9, 0], [9, 9]]} for i in range(40_000)]
    return [*regions, regions[-1]]


def attacks() -> dict[str, tuple[int, Callable[[], Attack]]]:
    """How many clients attack at once, and what makes the request that they send, by name."""
    black = np.zeros((100, 100, 3), np.uint8)
    crowd = render(1, 80, width=768, height=576).image
    header = b"\xff\xd8" + (b"\xff\xe5\xff\xff" + bytes(65_533)) * 740  # empty APP5 segments
    return {
        "strip of 1,000,000 x 100": (
            2,
            lambda: send("/v1/count", encoded(Image.new("L", (1_000_000, 100)), "PNG")),
        ),
        "scale=8 of 100 megapixels": (2, lambda: send("/v1/count?scale=8", large_jpeg(black))),
        "JPEG of 5,000 scans": (4, lambda: send("/v1/count", progressive_jpeg(9992, 5000))),
        "region of 60,000 corners": (2, lambda: send_regions([comb(60_000)])),
        "region of 5,000 corners": (2, lambda: send_regions([comb(4_990)])),
        "40,000 regions, two of one name": (2, lambda: send_regions(same_names())),
        "JPEG header of 48 MB": (4, lambda: send("/v1/count", header)),
        "methods without end": (4, lambda: odd_method),
        "overlays of 100 megapixels": (16, lambda: send("/v1/overlay?scale=0.05", large_jpeg(black))),
        "100 megapixels of crowd, whole": (4, lambda: send("/v1/count?scale=1", large_jpeg(crowd))),
        "TIFF tile of 46,000 x 46,000": (4, lambda: send("/v1/count", tile_bomb(46_000))),
        "WebP of 100 megapixels": (4, lambda: send("/v1/count", large_webp())),
    }


def tree_memory(pid: int) -> float:
    """Resident GB of a process and its children. A process that ends meanwhile counts as nothing."""
    kilobytes, found = 0, [pid]
    while found:
        process = Path(f"/proc/{found.pop()}")
        with suppress(OSError, IndexError):
            kilobytes += int(re.findall(r"VmRSS:\s+(\d+)", (process / "status").read_text())[0])
            for task in (process / "task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return kilobytes / 1e6


@contextmanager
def server(limit: float, peak: list[float]) -> Iterator[tuple[str, subprocess.Popen]]:
    """A running server, killed above `limit` GB. `peak` gets the most memory that it took."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "headcount", "serve", "--port", "0", "--state", state]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)

        def watch() -> None:
            while process.poll() is None:
                peak.append(tree_memory(process.pid))
                if peak[-1] > limit:
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(0.02)

        address = str(process.stdout and process.stdout.readline()).strip().rpartition(" ")[2]
        threading.Thread(target=watch, daemon=True).start()
        try:
            yield address, process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def repeat(
    address: str, stop: threading.Event, request: Attack, got: Counter, waited: list[float], pause: float
) -> None:
    """Send a request again and again, and note what came back and after how many seconds."""
    with httpx.Client(base_url=address, timeout=WAIT) as client:
        while not stop.is_set():
            began = time.monotonic()
            try:
                answer = request(client)
            except httpx.HTTPError as error:
                answer = type(error).__name__
                stop.wait(0.2)
            got[answer] += 1
            if answer != "503":  # told to come back
                waited.append(time.monotonic() - began)
            stop.wait(pause)


def counted(client: httpx.Client, photo: bytes) -> str:
    """Have a photo counted, trying again while the server says that it is busy."""
    end = time.monotonic() + WAIT
    while (answer := client.post("/v1/count", content=photo)).status_code == 503 and time.monotonic() < end:
        time.sleep(0.1)
    return str(answer.status_code)


def run(name: str, clients: int, attack: Attack, seconds: float, limit: float) -> str:
    """Attack a new server; a row of the table."""
    photo, stop, peak = honest_photo(), threading.Event(), [0.0]
    got, health, honest = Counter(), Counter(), Counter()
    waits: dict[str, list[float]] = {"attack": [], "health": [], "honest": []}
    with server(limit, peak) as (address, process):
        with httpx.Client(base_url=address, timeout=WAIT) as client:
            assert counted(client, photo) == "200"
        arguments = [(attack, got, waits["attack"], 0.0)] * clients
        arguments += [(lambda client: str(client.get("/healthz").status_code), health, waits["health"], 0.25)]
        arguments += [(lambda client: counted(client, photo), honest, waits["honest"], 0.1)]
        threads = [threading.Thread(target=repeat, args=(address, stop, *each), daemon=True) for each in arguments]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        began, recovery = time.monotonic(), "never"
        with httpx.Client(base_url=address, timeout=WAIT) as client, suppress(httpx.HTTPError):
            if counted(client, photo) == "200":
                recovery = f"{time.monotonic() - began:.1f} s"
        for thread in threads:
            thread.join(WAIT if process.poll() is None else 1)
        lives = process.poll() is None
    answers = ", ".join(f"{answer} x{number}" for answer, number in got.most_common(3)) or "nothing"
    longest = {who: f"{max(times):.1f} s" if times else "never" for who, times in waits.items()}
    return (
        f"| {name} | {clients} | {answers} | {longest['health']} | {longest['honest']} ({honest['200']}) "
        f"| {max(peak):.1f} GB | {recovery if lives else 'killed'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="run the attacks whose name contains one of these")
    parser.add_argument("--seconds", type=float, default=20, help="how long each lasts")
    parser.add_argument("--max-memory", type=float, default=6, help="GB at which a server is killed")
    options = parser.parse_args()
    print("| attack | clients | they got | healthz, longest | honest photo, longest (counted) | memory | recovery |")
    print("|---|---|---|---|---|---|---|")
    for name, (clients, attack) in attacks().items():
        if not options.only or any(part in name for part in options.only):
            print(run(name, clients, attack(), options.seconds, options.max_memory), flush=True)


if __name__ == "__main__":
    main()
