"""Requests that stopped the server once, small: each is refused or answered, and the next photo is counted."""

import contextlib
import io
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from helpers.serving import image_file, server_process, serving
from PIL import Image

from headcount.geometry import MAX_ENLARGED, enlarge_to, enlargement
from headcount.regions.region import RegionError, parse_regions
from headcount.server.service import API_KEY_VARIABLE
from headcount.server.uploads import MAX_CORNERS, MAX_REGIONS


def refusal(client, path, **sent):
    """The status and the line of a refused request, after which an honest photo is counted."""
    answer = client.post(path, **sent)
    assert answer.status_code >= 400 and set(answer.json()) == {"error"}
    assert "\n" not in answer.json()["error"] and len(answer.json()["error"]) < 300
    assert client.post("/v1/count", content=image_file(7)).status_code == 200
    return answer.status_code, answer.json()["error"]


def rectangle(name, corners=4):
    """A region with many corners that do not cross."""
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return {"name": name, "polygon": np.round(30 + 20 * np.column_stack([np.cos(angles), np.sin(angles)]), 6).tolist()}


def form(*regions):
    return {"files": {"file": ("a.png", image_file(7))}, "data": {"regions": json.dumps({"regions": list(regions)})}}


def test_a_strip_is_not_enlarged_to_gigapixels(client):
    """97 kB of PNG, 1,000,000 x 100: enlarged to a short side of 448 pixels, it was 2 gigapixels and 6 GB."""
    assert enlargement(100, 1_000_000, 448) == 1
    assert 300_000 * 10 * enlargement(10, 300_000, 448) ** 2 <= MAX_ENLARGED * 1.01
    assert enlarge_to(np.zeros((10, 200_000, 3), np.uint8), 448).size <= 3 * MAX_ENLARGED * 1.01
    assert enlargement(300, 400, 448) == pytest.approx(448 / 300), "photos are enlarged as before"
    assert client.post("/v1/count", content=image_file(0, 200_000, 50)).status_code == 200


def test_a_scale_counts_against_the_limit_of_pixels(client):
    photo = io.BytesIO()
    Image.new("L", (3000, 2000)).save(photo, "PNG")
    status, line = refusal(client, "/v1/count?scale=8", content=photo.getvalue())
    assert status == 413 and "3000x2000 at scale 8 is 384 megapixels" in line and "smaller scale" in line


def test_methods_do_not_become_series_without_end(client):
    before = len(client.get("/metrics").text)
    for i in range(50):
        client.request(f"METHOD{i}", "/healthz")
    text = client.get("/metrics").text
    assert "METHOD" not in text and 'method="other"' in text and len(text) < before + 4000


def test_regions_are_limited_in_number_corners_and_names(client):
    status, line = refusal(client, "/v1/count", **form(*(rectangle(f"r{i}") for i in range(MAX_REGIONS + 1))))
    assert status == 422 and line.startswith("201 regions; at most 200")
    status, line = refusal(client, "/v1/count", **form(rectangle("comb", MAX_CORNERS + 1)))
    assert status == 422 and line.startswith("the regions have 5,001 corners, more than 5,000; simplify")
    status, line = refusal(client, "/v1/count", **form(rectangle("x" * 100_000)))
    assert status == 422 and "at most 200 characters" in line
    assert client.post("/v1/count", **form(rectangle("all", MAX_CORNERS))).status_code == 200


def test_two_regions_of_one_name_are_found_in_linear_time():
    """40,000 regions, the last two of one name, stopped the event loop for 43 seconds."""
    square = [[0, 0], [9, 0], [9, 9]]
    many = [{"name": f"r{i}", "polygon": square} for i in range(3000)]
    many.append(many[-1])
    with pytest.raises(RegionError, match='two regions are named "r2999"'):
        parse_regions(json.dumps({"regions": many}).encode())


def test_the_loop_answers_while_regions_and_headers_are_parsed(client):
    """Both are parsed in threads: a self-intersecting outline of 5,000 corners, an image header of 40 MB."""
    header = b"\xff\xd8" + (b"\xff\xe5\xff\xff" + bytes(65_533)) * 300  # empty APP5 segments
    slow = threading.Thread(target=client.post, args=("/v1/count",), kwargs={"content": header})
    slow.start()
    times = []
    while slow.is_alive():
        began = time.monotonic()
        assert client.get("/healthz").status_code == 200
        times.append(time.monotonic() - began)
    assert times


def test_overlays_are_limited_in_size_and_wait_in_line(client):
    """16 of 100 megapixels, drawn at once, took more than 6 GB."""
    photo = cv2.imencode(".png", np.zeros((4000, 5000), np.uint8))[1].tobytes()
    zone = {"name": "zone", "polygon": [[100, 200], [4900, 200], [4900, 3800], [100, 3800]]}
    sent = {"files": {"file": ("a.png", photo)}, "data": {"regions": json.dumps({"regions": [zone]})}}
    drawn = cv2.imdecode(np.frombuffer(client.post("/v1/overlay", **sent).content, np.uint8), cv2.IMREAD_COLOR)
    assert 15e6 < drawn.shape[0] * drawn.shape[1] <= 16.01e6
    scale = drawn.shape[1] / 5000
    edge = drawn[2000, round(100 * scale) - 5 : round(100 * scale) + 5]
    assert edge.max() > 100 and drawn[2000, : round(100 * scale) - 20].max() < 60, "the outline is where it was given"
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/overlay?scale=0.05", content=photo).status_code, range(16)))
    assert set(answers) <= {200, 503} and 200 in answers
    assert client.post("/v1/count", content=image_file(7)).status_code == 200


def large_photo(side=2000):
    return cv2.imencode(".png", np.zeros((side, side), np.uint8))[1].tobytes()


def test_large_images_wait_apart_from_ordinary_ones(tmp_path):
    """One of 100 megapixels kept every other client waiting for half a minute."""
    with serving(tmp_path) as (client, app):
        slow_down_windows(app, pixels=1_000_000, seconds=3.0)
        large = threading.Thread(target=client.post, args=("/v1/count?scale=1",), kwargs={"content": large_photo()})
        large.start()
        while app.state.service.queue.large.counting_since is None:
            time.sleep(0.01)
        began = time.monotonic()
        assert client.post("/v1/count", content=image_file(7)).json()["count"] == pytest.approx(7, rel=0.01)
        assert time.monotonic() - began < 1.5 and large.is_alive()
        large.join()


def slow_down_windows(app, pixels, seconds):
    """Let the engine take longer for windows of more than this many pixels."""
    engine = app.state.service.models.get(None).engine
    run = engine.run

    def slow_run(images):
        if images.shape[1] * images.shape[2] > pixels:
            time.sleep(seconds)
        return run(images)

    engine.run = slow_run


def test_only_so_many_large_images_wait_and_ordinary_ones_are_still_accepted(tmp_path):
    with serving(tmp_path) as (client, app):
        slow_down_windows(app, pixels=1_000_000, seconds=0.5)
        photo = large_photo()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.post("/v1/count", content=photo).status_code, range(8)))
        assert set(answers) == {200, 503}
        assert client.post("/v1/count", content=image_file(7)).status_code == 200
        assert app.state.service.queue.pending == 0


def test_a_long_strip_is_large_although_it_has_few_pixels(server):
    """It is enlarged to 4 megapixels."""
    image = cv2.imencode(".png", np.zeros((8, 100_000), np.uint8))[1].tobytes()
    client, app = server
    assert client.post("/v1/count", content=image).status_code == 200
    assert app.state.service.queue.large.batch_seconds != 1.0, "the other lane has counted it"


def test_counting_ends_with_its_deadline(tmp_path):
    """It went on for nobody, in front of everybody else."""
    with serving(tmp_path, deadline_seconds=0.5) as (client, app):
        slow_down_windows(app, pixels=0, seconds=0.3)
        app.state.service.queue.large.window_bytes = 1  # the smallest windows: there are many
        photo = large_photo()
        assert client.post("/v1/count?scale=1", content=photo).status_code == 504
        end = time.monotonic() + 1.5
        while app.state.service.queue.large.counting_since is not None:
            assert time.monotonic() < end, "it still counts"
            time.sleep(0.01)


def test_a_server_is_ready_only_while_it_can_read_images(server):
    client, app = server
    reader = app.state.service.queue.ordinary.reader
    os.kill(reader.process.pid, signal.SIGKILL)
    reader.process.join()
    began = time.monotonic()
    assert client.get("/readyz").status_code == 503
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() - began < 10
        time.sleep(0.01)
    assert client.post("/v1/count", content=image_file(7)).status_code == 200


def test_pages_of_other_sites_cannot_embed_what_the_server_has(client):
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/v1/models", headers=embedded).status_code == 403
    assert client.get("/", headers={**embedded, "Sec-Fetch-Mode": "navigate"}).status_code == 200, "a link to the page"
    own = client.get("/v1/models", headers={"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"})
    assert own.status_code == 200 and own.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_body_that_drips_does_not_hold_an_upload(tmp_path, monkeypatch):
    monkeypatch.setattr("headcount.server.middleware.RECEIVE_TIMEOUT", 0.5)
    with serving(tmp_path) as (client, _), socket.create_connection(("127.0.0.1", client.base_url.port)) as slow:
        slow.sendall(b"POST /v1/video HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n")
        slow.settimeout(0.1)
        answer = b""
        for _ in range(50):
            slow.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = slow.recv(4096)
                break
        slow.settimeout(5)
        while b"too slowly" not in answer and (more := slow.recv(4096)):  # the body may come after the headers
            answer += more
        assert answer.startswith(b"HTTP/1.1 408") and b"too slowly" in answer


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system cannot drop unread connections")
def test_a_client_that_does_not_read_is_dropped(tmp_path, monkeypatch):
    """60 of them held 2 GB of answers for as long as they liked."""
    monkeypatch.setattr("headcount.server.app.UNREAD_SECONDS", 0.5)
    photo = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8))[1].tobytes()
    with serving(tmp_path) as (client, _), socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", client.base_url.port))
        head = f"POST /v1/overlay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(photo)}\r\n\r\n"
        deaf.sendall(head.encode() + photo)
        deaf.settimeout(20)
        assert deaf.recv(12) == b"HTTP/1.1 200"
        time.sleep(3)  # the system asks less and less often whether it reads now
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while more := deaf.recv(1_000_000):
                received += len(more)
        assert received < 10_000_000, "it got all of an answer of 35 MB"


def test_workers_end_with_the_process_that_started_them(tmp_path):
    """Killed, it cannot tell them; they kept the port, and the next start failed."""
    with server_process(tmp_path, "--workers", "2") as (address, process):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        port, end = int(address.rpartition(":")[2]), time.monotonic() + 15
        while is_open(port):
            assert time.monotonic() < end, "a worker outlives its parent"
            time.sleep(0.1)


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_other_machines_need_a_key_unless_the_user_says_otherwise(tmp_path):
    command = [sys.executable, "-m", "headcount", "serve", "--host", "0.0.0.0", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2 and API_KEY_VARIABLE in done.stderr and "--no-key" in done.stderr
    assert len(done.stderr.splitlines()) == 2
