"""Use an installed headcount as a stranger would. A script that needs the package and the standard library alone.

It counts a photo on the command line and, where the extras are installed, through a real server and
in ONNX Runtime. It ends with an error where any of that fails.
"""

import contextlib
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import headcount

EXAMPLE = Path(headcount.__file__).parent / "examples" / "crowd.jpg"
TRUE_COUNT = 190
COMMANDS = ("annotate", "check", "convert", "count", "demo", "evaluate", "export", "info", "serve", "train")
COMMAND = [sys.executable, "-m", "headcount"]


def run(*arguments: str, folder: Path) -> str:
    done = subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"headcount {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


def right(count: float) -> bool:
    return 0.8 * TRUE_COUNT < count < 1.2 * TRUE_COUNT


def count_a_photo(folder: Path, *options: str) -> None:
    run("count", "crowd.jpg", "--out", "counts.csv", *options, folder=folder)
    header, row = (folder / "counts.csv").read_text().splitlines()
    count = float(row.split(",")[header.split(",").index("count")])
    assert right(count), f"counted {count} of {TRUE_COUNT}"


def count_a_video(folder: Path) -> None:
    from headcount.io.images import read_image
    from headcount.io.video_writer import VideoWriter

    image = read_image(EXAMPLE)
    with VideoWriter(folder / "clip.webm", 2) as writer:
        for _ in range(4):
            writer.write(image)
    chart = ("--plot", "chart.png") if installed("matplotlib") else ()
    run("count", "clip.webm", "--every", "1s", "--out", "video.jsonl", *chart, folder=folder)
    assert (folder / "chart.png").is_file() == bool(chart)
    rows = [json.loads(line) for line in (folder / "video.jsonl").read_text().splitlines()]
    assert rows and all(right(row["count"]) for row in rows), rows


def count_by_a_server(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([*COMMAND, "serve", "--port", str(port), "--state", str(folder / "state")], cwd=folder)
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/count", data=EXAMPLE.read_bytes(), headers={"Content-Type": "image/jpeg"}
        )
        until = time.monotonic() + 60
        while time.monotonic() < until and server.poll() is None:
            with contextlib.suppress(ConnectionError, urllib.error.URLError):
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert right(json.load(answer)["count"])
                return
            time.sleep(0.2)
        sys.exit("headcount serve gave no answer")
    finally:
        server.terminate()
        server.wait(60)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(EXAMPLE, folder)
        for command in (
            "count",
            "convert",
            "check",
            "info",
            "demo",
            "serve",
            "annotate",
            "train",
            "evaluate",
            "export",
        ):
            assert run(command, "--help", folder=folder).startswith("Usage: ")
        count_a_photo(folder)
        count_a_video(folder)
        done = ["a photo", "a video"]
        if installed("onnxruntime"):
            count_a_photo(folder, "--engine", "onnxruntime")
            done.append("ONNX Runtime")
        if installed("fastapi", "uvicorn"):
            count_by_a_server(folder)
            done.append("a server")
    print(f"headcount {headcount.__version__} at {Path(headcount.__file__).parent}: {', '.join(done)}: as it should be")


if __name__ == "__main__":
    main()
