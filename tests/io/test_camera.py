"""Live sources: a slow reader, a lost connection, and cameras that never answer."""

import http.server
import itertools
import signal
import socket
import threading
import time

import cv2
import numpy as np
import pytest

from headcount.io import video_stream
from headcount.io.images import MediaError
from headcount.io.video import probe, read_frames


class CameraServer:
    """A local MJPEG camera that sends as many frames as the next of `connections` says, then disconnects."""

    def __init__(self, connections, pause=0.01):
        connections = iter(connections)
        jpegs = [cv2.imencode(".jpg", np.full((48, 64, 3), shade, np.uint8))[1].tobytes() for shade in range(0, 256, 5)]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                frames = next(connections, 0)
                if not frames:
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                for jpeg in itertools.islice(itertools.cycle(jpegs), frames):
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                    except OSError:
                        return
                    time.sleep(pause)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://me:secret@127.0.0.1:{self.server.server_port}/live"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def reading_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("reading ")]


def test_a_lost_camera_is_retried_and_then_given_up():
    warnings = []
    with CameraServer([5, 5, 20, 0, 20]) as camera:  # the first two answer `probe`
        assert probe(camera.url).live
        frames = []
        with pytest.raises(MediaError, match=r"no frame for 0.6 s; check the camera"):
            for frame in read_frames(camera.url, warn=warnings.append, patience=0.6, back_off=(0.02, 0.05)):
                frames.append(frame)
    times = [f.time for f in frames]
    assert len(frames) > 5 and times == sorted(times) and times[0] >= 0
    assert warnings and all("127.0.0.1" in w and "secret" not in w and "retrying in 0.0" in w for w in warnings)
    assert "connection lost" in warnings[0] and not reading_threads()


def test_a_slow_reader_gets_the_newest_frame():
    with CameraServer([5, 2000, 2000]) as camera:
        frames = read_frames(camera.url, patience=2, back_off=(0.05,))
        next(frames)
        time.sleep(0.5)
        next(frames)  # the frame that was waiting
        indices = [next(frames).index for _ in range(2)]
        assert indices[0] > 15, "half a second of frames was skipped"
        frames.close()
    assert not reading_threads()


def test_a_camera_that_never_answers():
    warnings = []
    began = time.monotonic()
    with pytest.raises(MediaError, match="camera"):
        list(read_frames("http://127.0.0.1:9/none", warn=warnings.append, patience=0.3, back_off=(0.1,)))
    assert "no answer; retrying in" in warnings[0] and time.monotonic() - began < 3


def test_ctrl_c_interrupts_the_wait_for_a_lost_camera():
    frames = read_frames("http://127.0.0.1:9/none", warn=lambda _: None, patience=60, back_off=(30,))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore Ctrl-C
    began = time.monotonic()
    try:
        threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            next(frames)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 3 and not reading_threads()


def test_a_camera_that_accepts_the_connection_and_sends_nothing(monkeypatch):
    monkeypatch.setattr(video_stream, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("rtsp", "http"):
            with pytest.raises(MediaError, match="no frame for 0.5 s"):
                list(
                    read_frames(
                        f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live",
                        warn=lambda _: None,
                        patience=0.5,
                        back_off=(0.1,),
                    )
                )
    assert not reading_threads()


def test_errors_of_the_reading_thread_reach_the_reader():
    def warn(message):
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="no answer"):
        list(read_frames("http://127.0.0.1:9/none", warn=warn))
