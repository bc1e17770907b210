"""Servers for tests, in this process and as the command, whose model counts white pixels; and files to send them."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from helpers import tiny_onnx

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn", reason="serving needs: pip install '.[serve]'")

from headcount.io import video_writer
from headcount.server.app import create_app, listen
from headcount.server.service import ServeSettings


@contextmanager
def serving(folder, engine_delay=0.0, **settings):
    """(client, app) of a server in this process. engine_delay: seconds that its engine takes more per image."""
    model = tiny_onnx.white_pixels(folder / "white.onnx")
    app = create_app(ServeSettings(**{"model": str(model), "state": str(folder / "state"), **settings}))
    if engine_delay:
        slow_down(app.state.service.models.get(None).engine, engine_delay)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=address, timeout=20) as client:
            wait_until_ready(address)
            yield client, app
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def slow_down(engine, seconds):
    run = engine.run

    def slow_run(images):
        time.sleep(seconds)
        return run(images)

    engine.run = slow_run


@contextmanager
def server_process(folder, *arguments, command="serve", port=0, **environment):
    """(address, process) of a headcount command that serves, once it is ready."""
    model = tiny_onnx.white_pixels(folder / "white.onnx")
    options = ["--port", port, "--model", model, "--state", folder / "state", *arguments]
    process = subprocess.Popen(
        [sys.executable, "-m", "headcount", command, *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        address = process.stdout.readline().strip().rpartition(" ")[2]
        assert address.startswith("http"), process.stderr.read()
        wait_until_ready(address)
        yield address, process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def wait_until_ready(address, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            httpx.get(f"{address}/readyz", timeout=20).raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < end, f"{address} is not ready after {seconds} seconds"
            time.sleep(0.02)


def image_file(people=7, height=60, width=80, suffix=".png"):
    """The bytes of an image file with `people` white pixels on black."""
    return cv2.imencode(suffix, tiny_onnx.dots(people, height, width))[1].tobytes()


def video_file(path, counts=(3, 5, 2, 8), fps=2):
    """The bytes of a video whose frames show these numbers of white squares, of 64 pixels each: large enough to survive
    compression."""
    frames = []
    for count in counts:
        frame = np.zeros((96, 160, 3), np.uint8)
        for i in range(count):
            frame[8 + 16 * (i // 8) : 16 + 16 * (i // 8), 8 + 16 * (i % 8) : 16 + 16 * (i % 8)] = 255
        frames.append(frame)
    video_writer.write_video(path, frames, fps)
    return path.read_bytes()
