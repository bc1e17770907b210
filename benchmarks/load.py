"""Measure headcount serve under load: the unloaded latency, the latency at four times the capacity, and the memory
over many requests.

    python benchmarks/load.py [--requests 2000] [--seconds 20] [--size 576x768]

The script starts a server on the loopback interface with the default model and sends it a rendered photo. The clients
run in this process and use some of the CPU too.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
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
    unloaded = unloaded_latency(url, body)
    capacity = asyncio.run(measure_capacity(url, body))
    print(f"capacity: {capacity:.1f}/s, with two clients that always wait")
    pace = 4 * capacity
    answers = asyncio.run(send_at_pace(url, body, pace, options.seconds))
    accepted = np.array([took for status, took in answers if status == 200])
    statuses = dict(sorted(Counter(status for status, _ in answers).items()))
    p99 = float(np.percentile(accepted, 99))
    print(f"{pace:.0f}/s for {options.seconds:g} s: {statuses}, accepted {len(accepted) / options.seconds:.1f}/s")
    print(
        f"accepted: median {np.median(accepted) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, {p99 / unloaded:.2f}x unloaded"
    )
    with httpx.Client(timeout=60) as client:
        sizes = [resident_megabytes(pid)]
        for number in range(1, options.requests + 1):
            client.post(url, content=body, params={"overlay": True}).raise_for_status()
            if number % (options.requests // 4) == 0:
                sizes.append(resident_megabytes(pid))
    print(f"memory over {options.requests} requests: {', '.join(f'{size:.0f}' for size in sizes)} MB")


def unloaded_latency(url: str, body: bytes, requests: int = 60, warm_up: int = 10) -> float:
    """Print the latency of one request at a time, and return its median in seconds."""
    durations = []
    with httpx.Client(timeout=60) as client:
        for _ in range(requests):
            started = time.perf_counter()
            client.post(url, content=body).raise_for_status()
            durations.append(time.perf_counter() - started)
    measured = np.array(durations[warm_up:])
    median = float(np.median(measured))
    p99 = float(np.percentile(measured, 99))
    print(f"unloaded: median {median * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, {1 / median:.1f}/s")
    return median


async def measure_capacity(url: str, body: bytes, clients: int = 2, requests: int = 60) -> float:
    """Requests per second if each client sends the next request as soon as it has its answer."""
    async with httpx.AsyncClient(timeout=60) as client:

        async def send_all() -> None:
            for _ in range(requests):
                (await client.post(url, content=body)).raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(send_all() for _ in range(clients)))
        return clients * requests / (time.perf_counter() - started)


async def send_at_pace(url: str, body: bytes, pace: float, seconds: float) -> list[tuple[int, float]]:
    """Send requests at an even pace, whether or not earlier ones are answered. Returns (status, seconds) of each."""
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=400)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:

        async def send(number: int) -> tuple[int, float]:
            await asyncio.sleep(number / pace)
            started = time.perf_counter()
            answer = await client.post(url, content=body)
            return answer.status_code, time.perf_counter() - started

        return await asyncio.gather(*(send(number) for number in range(int(pace * seconds))))


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1e3 if found else 0.0


if __name__ == "__main__":
    main()
