"""headcount serve under load, in one run on this machine: the latency alone, then at four times the capacity, then
the memory over many requests.

    python benchmarks/load.py [--requests 2000] [--seconds 20] [--size 576x768]

A server of its own on the loopback, the default model, rendered photos. The clients run in this process and take some
of the processor too.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import httpx
import numpy as np

from headcount.synthetic.scenes import render


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--size", default="576x768", help="height x width")
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    image = render(1, 80, width=width, height=height).image
    body = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "headcount", "serve", "--port", "0", "--state", state]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            address = str(server.stdout and server.stdout.readline()).strip().rpartition(" ")[2]
            measure(address, server.pid, body, options)
        finally:
            server.terminate()
            server.wait(30)


def measure(address: str, pid: int, body: bytes, options: argparse.Namespace) -> None:
    url = f"{address}/v1/count"
    with httpx.Client(timeout=60) as client:
        alone = []
        for _ in range(60):
            began = time.perf_counter()
            client.post(url, content=body).raise_for_status()
            alone.append(time.perf_counter() - began)
    alone = np.array(alone[10:])
    unloaded = float(np.median(alone))
    print(f"alone: median {unloaded * 1e3:.1f} ms, p99 {np.percentile(alone, 99) * 1e3:.1f} ms, {1 / unloaded:.1f}/s")
    capacity = asyncio.run(saturated(url, body))
    print(f"capacity: {capacity:.1f}/s, two clients that always wait")
    pace = 4 * capacity
    answers = asyncio.run(load(url, body, pace, options.seconds))
    accepted = np.array([took for status, took in answers if status == 200])
    statuses = {status: sum(s == status for s, _ in answers) for status in sorted({s for s, _ in answers})}
    p99 = float(np.percentile(accepted, 99))
    print(f"{pace:.0f}/s for {options.seconds:g} s: {statuses}, accepted {len(accepted) / options.seconds:.1f}/s")
    print(f"accepted: median {np.median(accepted) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, {p99 / unloaded:.2f}x alone")
    with httpx.Client(timeout=60) as client:
        sizes = [memory(pid)]
        for number in range(1, options.requests + 1):
            client.post(url, content=body, params={"overlay": True}).raise_for_status()
            if number % (options.requests // 4) == 0:
                sizes.append(memory(pid))
    print(f"memory over {options.requests} requests: {', '.join(f'{size:.0f}' for size in sizes)} MB")


async def saturated(url: str, body: bytes, clients: int = 2, requests: int = 60) -> float:
    """Requests a second when each client sends the next as soon as it has its answer."""
    async with httpx.AsyncClient(timeout=60) as client:

        async def ask() -> None:
            for _ in range(requests):
                (await client.post(url, content=body)).raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(clients)))
        return clients * requests / (time.perf_counter() - began)


async def load(url: str, body: bytes, pace: float, seconds: float) -> list[tuple[int, float]]:
    """(status, seconds) of requests that come at an even pace, whatever becomes of those before them."""
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=400)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:

        async def one(number: int) -> tuple[int, float]:
            await asyncio.sleep(number / pace)
            began = time.perf_counter()
            answer = await client.post(url, content=body)
            return answer.status_code, time.perf_counter() - began

        return await asyncio.gather(*(one(number) for number in range(int(pace * seconds))))


def memory(pid: int) -> float:
    """Resident megabytes of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1e3 if found else 0.0


if __name__ == "__main__":
    main()
