"""The HTTP API over real sockets. The model counts white pixels, so the right answers are known."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import tiny_onnx
from helpers.serving import httpx, image_file, server_process, serving, video_file

import headcount
from headcount.datasets.readers import read
from headcount.server.counting_queue import CountingQueue, QueueFullError
from headcount.server.image_reader import ImageReader
from headcount.server.routes import counting
from headcount.server.service import API_KEY_VARIABLE, state_folder

# Counting


def test_a_photo_is_counted_as_a_body_and_in_a_form(client):
    raw = client.post("/v1/count", content=image_file(7))
    form = client.post("/v1/count", files={"file": ("a.png", image_file(7), "image/png")})
    assert raw.status_code == form.status_code == 200
    for row in (raw.json(), form.json()):
        assert row["count"] == pytest.approx(7, rel=0.01) and (row["width"], row["height"]) == (80, 60)
        assert row["model"] == "white" and row["low"] is None and "path" not in row


def test_regions_points_and_layers(client):
    zones = {"regions": [{"name": "left", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "units": "fractions"}]}
    zones["regions"].append({**zones["regions"][0], "name": "right", "polygon": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]})
    files = {"file": ("a.png", image_file(9), "image/png")}
    sent = {"regions": json.dumps(zones)}
    row = client.post("/v1/count?points=true&overlay=true", files=files, data=sent).json()
    assert sum(region["count"] for region in row["regions"]) == pytest.approx(row["count"], abs=0.02)
    assert [region["name"] for region in row["regions"]] == ["left", "right"]
    assert len(row["points"]) == 9 and all(0 <= x < 80 and 0 <= y < 60 for x, y in row["points"])
    for name in ("density", "mask"):
        layer = base64.b64decode(row["overlay"][name].removeprefix("data:image/png;base64,"))
        pixels = cv2.imdecode(np.frombuffer(layer, np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (60, 80, 4) and pixels[..., 3].max() > 100 and pixels[..., 3].min() == 0
    assert row["overlay"]["peak"] > 0


def test_the_overlay_is_a_png_of_the_same_size(client):
    answer = client.post("/v1/overlay", content=image_file(7))
    assert answer.headers["content-type"] == "image/png"
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (60, 80, 3)


def test_models_limits_health_and_metrics(client):
    facts = client.get("/v1/models").json()
    assert facts["default"] == "white" and facts["models"][0]["name"] == "white" and not facts["project"]
    assert facts["limits"]["megapixels"] == 100
    assert client.get("/healthz").json() == {"status": "ok"} and client.get("/readyz").json() == {"status": "ready"}
    before = dict(re.findall(r"^(headcount_\w+) ([\d.e+]+)$", client.get("/metrics").text, re.M))
    client.post("/v1/count", content=image_file(7))
    client.post("/v1/count", content=b"not an image")
    after = dict(re.findall(r"^(headcount_\w+) ([\d.e+]+)$", client.get("/metrics").text, re.M))
    gained = {name: float(after[name]) - float(before.get(name, 0)) for name in after}
    assert gained["headcount_images_total"] == 1 and gained["headcount_people_total"] == pytest.approx(7, rel=0.01)
    assert gained["headcount_errors_total"] == 1 and float(after["headcount_waiting"]) == 0
    labelled = client.get("/metrics").text
    assert 'headcount_requests_total{method="POST",path="/v1/count",status="200"}' in labelled
    assert client.get("/v1/nowhere/else").status_code == 404
    assert 'path="other"' in client.get("/metrics").text  # paths that clients invent create no series


def test_the_page_loads_its_own_files_and_nothing_else(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    loaded = re.findall(r"""(?:src|href)=["']([^#"']+)""", page.text)
    assert [path for path in loaded if not path.startswith("data:")] == ["/static/page.css", "/static/page.js"]
    for path, kind in (("/", "text/html"), ("/static/page.css", "text/css"), ("/static/page.js", "javascript")):
        sent = client.get(path)
        assert sent.status_code == 200 and kind in sent.headers["content-type"]
        assert sent.headers["cache-control"] == "no-cache" and sent.headers["x-content-type-options"] == "nosniff"
        known = client.get(path, headers={"If-None-Match": sent.headers["etag"]})
        assert known.status_code == 304 and not known.content
    for path in ("/static/app.py", "/static/..%2Fapp.py", "/static/%2Fetc%2Fpasswd", "/static/."):
        assert client.get(path).status_code == 404


def test_the_example_photo_can_be_counted(client):
    photo = client.get("/v1/example")
    assert photo.headers["content-type"] == "image/jpeg"
    assert client.post("/v1/count", content=photo.content).json()["width"] == 1024


# Refusals


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    """A small PNG whose header announces a large image."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def malformed():
    """Bodies that are not photos; most are damaged real ones."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (40, 60, 3), np.uint8)
    good = {s: cv2.imencode(s, noise)[1].tobytes() for s in (".png", ".jpg", ".bmp", ".tiff", ".webp")}
    yield from (
        b"",
        b"\0",
        b"\0" * 100_000,
        b"<html>no</html>",
        b"GIF89a" + bytes(20),
        b"%PDF-1.7",
        b"#EXTM3U\nhttp://x/",
    )
    yield from (bomb(30_000, 30_000), bomb(2**31 - 1, 2**31 - 1), bomb(0, 5), bomb(400_000, 2), bomb(20_000, 20_000))
    yield from (
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        json.dumps({"count": 1}).encode(),
        "ünïcode".encode("utf-16"),
    )
    for suffix, whole in good.items():
        for part in (4, 8, 16, 30, 60, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8):
            at = part if isinstance(part, int) else int(len(whole) * part)
            if suffix != ".tiff" or at < len(whole) * 0.6:  # a TIFF ends with its directory, not its pixels
                yield whole[:at]
        for _ in range(30):  # headers with wrong values
            broken = bytearray(whole)
            for at in random.integers(0, 24, 6):
                broken[at] ^= int(random.integers(1, 256))
            yield bytes(broken)


def test_200_malformed_bodies_give_4xx_and_never_a_crash(client):
    bodies = list(malformed())[:200]
    assert len(bodies) == 200
    readable = 0
    for number, body in enumerate(bodies):
        answer = client.post("/v1/count", content=body)
        if answer.status_code == 200:  # the changed bits of the header say nothing about the pixels
            readable += 1
            assert body and "count" in answer.json(), number
            continue
        assert 400 <= answer.status_code < 500, (number, answer.status_code, answer.text)
        assert set(answer.json()) == {"error"} and "\n" not in answer.json()["error"]
    assert readable < 30
    assert client.post("/v1/count", content=image_file(7)).json()["count"] == pytest.approx(7, rel=0.01)


def test_images_of_extreme_shapes_are_counted(client):
    for shape in ((1, 1), (1, 30_000), (30_000, 1), (3, 3)):
        assert client.post("/v1/count", content=image_file(0, *shape)).status_code == 200


def test_each_refusal_is_one_line_with_the_right_status(client):
    def refusal(method, url, **sent):
        answer = client.request(method, url, **sent)
        assert set(answer.json()) == {"error"}, answer.text
        return answer.status_code, answer.json()["error"]

    good = image_file()
    assert refusal("POST", "/v1/count", content=b"")[0] == 415
    assert refusal("POST", "/v1/count", content=bomb(20_000, 20_000))[0] == 413
    status, line = refusal("POST", "/v1/count?model=../../etc/passwd", content=good)
    assert status == 404 and "white" in line
    assert refusal("POST", "/v1/count?scale=100", content=good)[0] == 422
    assert refusal("POST", "/v1/count?scael=1", content=good)[0] == 422
    assert refusal("POST", "/v1/count", files={"photo": ("a.png", good)}) == (
        422,
        "the form has no file; send it as the part 'file'",
    )
    status, line = refusal("POST", "/v1/count", files={"file": ("a.png", good)}, data={"regions": "{"})
    assert status == 422 and "JSON" in line
    outside = {"regions": [{"name": "far", "polygon": [[500, 500], [600, 500], [600, 600]]}]}
    status, line = refusal("POST", "/v1/count", files={"file": ("a.png", good)}, data={"regions": json.dumps(outside)})
    assert status == 422 and "far" in line
    assert refusal("GET", "/v1/count")[0] == 405
    assert refusal("GET", "/v1/jobs/none")[0] == 404
    assert refusal("GET", "/v1/project")[0] == 404
    assert refusal("POST", "/v1/video?every=0s", content=b"x")[0] == 422
    assert refusal("POST", "/v1/video", content=b"#EXTM3U\n/etc/passwd")[0] == 415
    status, _ = refusal("POST", "/v1/count", content=good, headers={"content-type": "multipart/form-data; boundary=x"})
    assert 400 <= status < 500


def test_pages_of_other_sites_can_neither_send_requests_nor_read_responses(client):
    good, port = image_file(), client.base_url.port
    assert client.post("/v1/count", content=good, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post("/v1/count", content=good, headers={"Origin": "null"}).status_code == 403
    assert client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403  # DNS rebinding
    own = client.post("/v1/count", content=good, headers={"Origin": f"http://127.0.0.1:{port}"})
    assert own.status_code == 200
    assert not [name for name in own.headers if name.startswith("access-control")]


def test_a_body_over_the_limit_is_refused_and_not_kept(tmp_path):
    with serving(tmp_path, max_body_bytes=10_000, max_video_bytes=20_000) as (client, _):
        answer = client.post("/v1/count", content=bytes(10_001))
        assert answer.status_code == 413 and "0.01 MB" in answer.json()["error"]

        def chunked():  # announces no length
            for _ in range(40):
                yield bytes(1000)

        assert client.post("/v1/video", content=chunked()).status_code == 413
        assert client.post("/v1/count", content=image_file()).status_code == 200
        assert not [f for f in (tmp_path / "state").rglob("*") if f.is_file() and "sqlite" not in f.name]


def test_a_client_that_is_still_sending_receives_the_refusal(tmp_path):
    """A closed connection resets what is sent to it, and some systems then drop the answer that was not yet read."""
    chunk = b"3e8\r\n" + bytes(1000) + b"\r\n"
    with serving(tmp_path, max_video_bytes=5_000) as (client, _):
        host, port = client.base_url.host, client.base_url.port
        connection = socket.create_connection((host, port), 20)
        connection.sendall(f"POST /v1/video HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(12):
            connection.sendall(chunk)
            time.sleep(0.02)
        connection.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        connection.close()
    status, body = answer.split(b"\r\n", 1)[0], answer.split(b"\r\n\r\n", 1)[1]
    assert b"413" in status and json.loads(body) == {"error": "the upload exceeds this server's limit of 0.005 MB"}


# A browser that notes its address, and what the server there answered.
BROWSER = """
import pathlib, sys, urllib.request
address, note = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
pathlib.Path(note + ".part").write_text(f"{address} {opener.open(address + '/readyz').status}")
pathlib.Path(note + ".part").rename(note)
"""


def test_open_opens_a_browser_once_the_server_is_ready(tmp_path):
    script, note = tmp_path / "browser.py", tmp_path / "note.txt"
    script.write_text(BROWSER)
    command = f"{sys.executable} {script} %s {note}"
    with server_process(tmp_path, "--open", BROWSER=command, http_proxy="http://127.0.0.1:9") as (address, _):
        end = time.monotonic() + 60
        while not note.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert note.read_text() == f"{address} 200"


def test_a_key_is_required_if_one_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv(API_KEY_VARIABLE, "open sesame")
    with serving(tmp_path) as (client, _):
        for path in ("/", "/static/page.js", "/healthz"):
            assert client.get(path).status_code == 200
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "open sesame"}):
            assert client.get("/v1/models", headers=headers).status_code == 401
            assert client.post("/v1/count", content=image_file(), headers=headers).status_code == 401
        assert client.get("/v1/models", headers={"Authorization": "Bearer open sesame"}).json()["key"]


def test_an_unexpected_error_reveals_nothing(tmp_path, monkeypatch):
    with serving(tmp_path) as (client, _):
        monkeypatch.setattr(counting, "result_json", lambda *_: 1 / 0)
        answer = client.post("/v1/count", content=image_file())
        assert answer.status_code == 500 and answer.json() == {"error": "internal error; see the server log"}
        monkeypatch.undo()
        assert client.post("/v1/count", content=image_file()).status_code == 200


# Load


def test_at_four_times_the_capacity_accepted_requests_are_fast_and_the_rest_are_refused(tmp_path):
    """The engine takes 0.15 s per image; for 3 seconds, four times as many requests arrive as it can count."""
    delay, seconds = 0.15, 3.0
    pace = 4 / delay
    with serving(tmp_path, engine_delay=delay) as (client, app):
        body = image_file(7)
        unloaded = []
        for _ in range(5):
            began = time.perf_counter()
            client.post("/v1/count", content=body)
            unloaded.append(time.perf_counter() - began)

        async def load():
            limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
            async with httpx.AsyncClient(base_url=client.base_url, timeout=20, limits=limits) as clients:

                async def request(number):
                    await asyncio.sleep(number / pace)
                    began = time.perf_counter()
                    answer = await clients.post("/v1/count", content=body)
                    return answer, time.perf_counter() - began

                return await asyncio.gather(*(request(number) for number in range(int(pace * seconds))))

        answers = asyncio.run(load())
        accepted = [took for answer, took in answers if answer.status_code == 200]
        refused = [answer for answer, _ in answers if answer.status_code != 200]
        assert {answer.status_code for answer in refused} == {503}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert all(answer.json()["count"] == pytest.approx(7, rel=0.01) for answer, _ in answers if not answer.is_error)
        assert len(accepted) > 0.6 * seconds / delay and len(refused) > len(accepted)
        assert np.percentile(accepted, 99) < 4 * np.median(unloaded)
        assert app.state.service.queue.pending == 0


def test_memory_stays_flat(tmp_path):
    """Over a few requests; benchmarks/load.py measures 2,000."""
    with serving(tmp_path) as (client, _):
        body = image_file(7, 240, 320)

        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

        for _ in range(50):
            client.post("/v1/count?overlay=true", content=body)
        before = resident()
        for _ in range(150):
            assert client.post("/v1/count?overlay=true", content=body).status_code == 200
        assert resident() - before < 15


def test_images_of_clients_that_disconnect_or_wait_too_long_are_not_counted(tmp_path):
    with serving(tmp_path, engine_delay=0.3, deadline_seconds=0.5, max_pending=8) as (client, app):
        counted = app.state.service.metrics.images._value
        connections = []
        for _ in range(5):
            connection = socket.create_connection(("127.0.0.1", client.base_url.port))
            body = image_file()
            head = f"POST /v1/count HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            connection.sendall(head + body)
            connections.append(connection)
        time.sleep(0.1)
        for connection in connections:
            connection.close()
        while app.state.service.queue.pending:
            time.sleep(0.02)
        assert counted.get() <= 1  # one may have been in the engine already

        results = []

        def ask():
            results.append(client.post("/v1/count", content=image_file()).status_code)

        run_in_threads(ask, 5)
        assert results.count(504) >= 3 and results.count(200) >= 1


def run_in_threads(function, number):
    threads = [threading.Thread(target=function) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_upload_that_stops_arriving_is_abandoned(tmp_path, monkeypatch):
    monkeypatch.setattr("headcount.server.middleware.RECEIVE_TIMEOUT", 0.2)
    with serving(tmp_path) as (client, _), socket.create_connection(("127.0.0.1", client.base_url.port)) as silent:
        silent.sendall(b"POST /v1/count HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc")
        silent.settimeout(5)
        assert silent.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_client_that_sends_everything_before_it_reads_gets_the_refusal(tmp_path):
    with serving(tmp_path, engine_delay=0.5, max_pending=1) as (client, _):
        body = image_file(7) + bytes(1_500_000)  # more than the sockets' buffers hold

        answers = []

        def ask():
            with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
                head = f"POST /v1/count HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                answers.append(connection.recv(4096).split()[1])

        run_in_threads(ask, 4)
        assert sorted(answers) == [b"200", b"503", b"503", b"503"]


def test_images_of_one_size_are_counted_in_batches(tmp_path):
    """An engine with a batch size above one, as on a GPU, gets several images at once."""
    counter = headcount.load(tiny_onnx.white_pixels(tmp_path / "white.onnx"))
    batches = []

    class Engine:
        name, precision, batch, meta = "gpu", "fp32", 4, counter.engine.meta

        def run(self, images):
            batches.append(len(images))
            time.sleep(0.05)
            return counter.engine.run(images)

    reader = ImageReader(1_000_000)
    queue = CountingQueue(reader)
    batched = replace(counter, engine=Engine())
    futures = [queue.submit(batched, tiny_onnx.dots(people)) for people in range(1, 12)]
    assert [future.result().result.count for future in futures] == pytest.approx(range(1, 12), rel=0.01)
    assert max(batches) == 4 and sum(batches) == 11
    waiting = [queue.submit(batched, tiny_onnx.dots(1)) for _ in range(queue.capacity(batched))]
    with pytest.raises(QueueFullError):
        queue.submit(batched, tiny_onnx.dots(1))
    queue.close()
    reader.close()
    assert all(future.result().result.count for future in waiting)  # accepted images are finished


# Videos


def test_a_video_is_counted_as_a_job(client, tmp_path):
    body = video_file(tmp_path / "v.webm")
    zones = {"regions": [{"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "units": "fractions"}]}
    files = {"file": ("my clip.webm", body, "video/webm")}
    answer = client.post("/v1/video?every=1f", files=files, data={"regions": json.dumps(zones)})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" and job["state"] in ("waiting", "running")
    while (job := client.get(f"/v1/jobs/{job['id']}").json())["state"] in ("waiting", "running"):
        time.sleep(0.05)
    assert job["state"] == "done" and job["error"] is None and job["progress"] == 1
    assert [row["count"] / 64 for row in job["rows"]] == pytest.approx([3, 5, 2, 8], rel=0.2)
    assert [row["time"] for row in job["rows"]] == pytest.approx([0, 0.5, 1, 1.5], abs=0.01)
    assert [row["regions"][0]["count"] for row in job["rows"]] == pytest.approx([r["count"] for r in job["rows"]])
    assert len(client.get(f"/v1/jobs/{job['id']}?since=3").json()["rows"]) == 1
    client.delete(f"/v1/jobs/{job['id']}")
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_no_video_is_kept_after_it_is_counted(client, server, tmp_path):
    state = Path(server[1].state.service.settings.state)
    answer = client.post("/v1/video?every=1f", content=video_file(tmp_path / "v.webm")).json()
    while client.get(f"/v1/jobs/{answer['id']}").json()["state"] in ("waiting", "running"):
        time.sleep(0.05)
    assert not [file for file in state.rglob("*") if file.is_file() and "sqlite" not in file.name]


# A project


def test_heads_in_a_folder_are_estimated_corrected_and_saved(tmp_path):
    folder = tmp_path / "photos"
    for name, people in (("a.png", 4), ("marked.png", 1), ("sub dir/b.png", 2)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_file(people))
    (folder / "points.csv").write_text("image,x,y,split\nmarked.png,1,2,val\n")
    with serving(tmp_path, project=str(folder)) as (client, _):
        assert client.get("/v1/models").json()["project"]
        project = client.get("/v1/project").json()
        assert project == {
            "name": "photos",
            "photos": [
                {"name": "a.png", "points": None},
                {"name": "marked.png", "points": 1},
                {"name": "sub dir/b.png", "points": None},
            ],
            "saved": 1,
        }
        assert client.get("/v1/project/photos/sub dir/b.png").content == image_file(2)
        found = client.get("/v1/project/points/sub dir/b.png").json()
        assert (len(found["points"]), found["saved"], found["width"]) == (2, False, 80)
        put = client.put("/v1/project/points/sub dir/b.png", json={"points": [[1, 2], [79.999, 59.999], [5.5, 6]]})
        assert put.json() == {"name": "sub dir/b.png", "points": 3}
        saved = client.get("/v1/project/points/sub dir/b.png").json()
        assert saved["saved"] and saved["points"] == [[1, 2], [79.99, 59.99], [5.5, 6]]
        assert client.put("/v1/project/points/a.png", json={"points": []}).status_code == 200
        assert client.get("/v1/project").json()["saved"] == 3
        for points in ([[80, 1]], [[-1, 1]], [[1, 2, 3]], "no", [["a", 1]]):
            assert client.put("/v1/project/points/a.png", json={"points": points}).status_code in (409, 422)
        for name in ("../white.onnx", "..%2Fwhite.onnx", "%2Fetc%2Fpasswd", "points.csv", "none.png"):
            assert client.get(f"/v1/project/photos/{name}").status_code == 404
            assert client.put(f"/v1/project/points/{name}", json={"points": []}).status_code == 404
    samples = {sample.image.name: len(sample.points) for sample in read(folder, "csv", "all")}
    assert samples == {"a.png": 0, "marked.png": 1, "b.png": 3}
    assert "marked.png,1.0,2.0,,val" in (folder / "points.csv").read_text()  # other tools' columns are kept


# The command


def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    with server_process(tmp_path) as (address, process):
        answer = httpx.post(f"{address}/v1/count", content=image_file(7), timeout=20)
        assert answer.json()["model"] == "white"
        port = address.rpartition(":")[2]
        second = subprocess.run(
            [sys.executable, "-m", "headcount", "serve", "--port", port, "--model", tmp_path / "white.onnx"],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        )
        assert second.returncode == 2 and f"cannot listen on 127.0.0.1, port {port}" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM) and "Traceback" not in process.stderr.read()


def test_several_processes_share_the_port_and_their_metrics(tmp_path):
    with server_process(tmp_path, "--workers", 2) as (address, process):
        for _ in range(6):
            assert httpx.post(f"{address}/v1/count", content=image_file(7), timeout=20).status_code == 200
        assert "headcount_images_total 6.0" in httpx.get(f"{address}/metrics").text
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("arguments", [("annotate", "none"), ("serve", "--model", "none.onnx"), ("annotate", ".")])
def test_what_cannot_be_served_gives_a_one_line_error(arguments, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "headcount", *arguments, "--port", "0"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 2, done.stderr


def test_images_that_browsers_cannot_show_are_converted(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.tif").write_bytes(image_file(4, suffix=".tiff"))
    with serving(tmp_path, project=str(folder)) as (client, _):
        answer = client.get("/v1/project/photos/a.tif")
        assert answer.headers["content-type"] == "image/png"
        assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (60, 80, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders for this")
def test_video_jobs_are_kept_in_the_users_state_folder(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_folder() == Path("/state/headcount")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == Path.home() / ".local" / "state" / "headcount"
