"""The site of `headcount page` in a real browser, from a plain file server and from a disk."""

import base64
import csv
import io
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.browser import PATIENCE, chromium, file_server, playwright

from headcount.cli.main import app
from headcount.inference import load
from headcount.page.site import EXAMPLE
from headcount.synthetic.scenes import render

expect = playwright.expect
expect.set_options(timeout=PATIENCE)
MAX_TAB = 1.5e9  # bytes


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    assert app(["page", "--out", str(folder / "site")], result_action="return_value") == 0
    assert app(["page", "--out", str(folder), "--single-file"], result_action="return_value") == 0
    return folder


@pytest.fixture(scope="module")
def address(site):
    with file_server(site / "site") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser):
    """visit(address, **context) opens the page and waits until it can count.

    Afterwards, no page may have sent a request anywhere since then, asked another site before, or logged an error."""
    contexts, wrong = [], []

    def visit(address, **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console", lambda said: said.type == "error" and "example.com" not in said.text and wrong.append(said.text)
        )
        context.on("request", lambda sent: foreign(sent.url, address) and wrong.append(sent.url))
        page.goto(address)
        ready(page, address)
        context.on("response", lambda got: got.from_service_worker or local(got.url) or wrong.append(got.url))
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not wrong


def local(url):
    return url.startswith(("blob:", "data:"))


def foreign(url, address):
    return not local(url) and not url.startswith(address)


def ready(page, address):
    expect(page.locator("#welcome")).to_be_visible()
    if address.startswith("http"):
        expect(page.locator("html")).to_have_attribute("data-offline", "ready")


@pytest.fixture(scope="module")
def counter():
    return load(precision="fp32")


def png(image, name="crowd.png"):
    return {
        "name": name,
        "mimeType": "image/png",
        "buffer": cv2.imencode(".png", image[..., ::-1])[1].tobytes(),
    }


def choose(page, *files):
    page.set_input_files("#files", list(files))


def saved_json(page):
    with page.expect_download() as download:
        page.locator("[data-do=json]").click()
    return json.loads(download.value.path().read_bytes())["photos"]


def check_example(page, counter):
    """Count the example on the page, and compare every number with Python's."""
    page.locator("#welcome [data-do=example]").click()
    expect(page.locator("#facts")).to_contain_text("1024 × 768")
    [told], expected = saved_json(page), counter.count(EXAMPLE).to_dict()
    assert [told[key] for key in ("count", "low", "high")] == pytest.approx(
        [expected[key] for key in ("count", "low", "high")], rel=0.005
    )
    assert told["model"] == expected["model"] and told.get("warning") == expected.get("warning")


def test_the_site_counts_sends_nothing_and_works_offline(address, visit, counter):
    page = visit(address)
    check_example(page, counter)
    page.context.set_offline(True)
    page.evaluate("window.onbeforeunload = null")
    page.reload()
    ready(page, address)
    assert page.evaluate("crossOriginIsolated")  # from the second visit on, so threads can be used
    check_example(page, counter)


def test_the_policy_of_the_site_stops_every_connection_elsewhere(address, site, visit):
    for page in (visit(address), visit((site / "headcount.html").as_uri())):
        policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
        assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
        assert page.evaluate("fetch('https://example.com').then(() => 'sent', () => 'refused')") == "refused"
    assert "connect-src 'none'" in policy


def test_the_single_file_counts_from_a_disk(site, visit, counter):
    page = visit((site / "headcount.html").as_uri())
    check_example(page, counter)


def test_regions_areas_and_the_true_number(address, visit, counter):
    image = render(3, 60, 480, 320).image
    page = visit(address)
    choose(page, png(image))
    expect(page.locator("#facts")).to_contain_text("480 × 320")
    result = counter.count(image)
    page.locator("#truth").fill("50")
    expect(page.locator("#truthdifference")).to_contain_text(f"{result.count - 50:+.0f} people")
    page.locator("#modes label", has_text="Regions").click()
    page.get_by_text("Corners as text").click()
    page.locator("#corners").fill("a: 0,0 0.37,0 0.37,1 0,1\nb: 0.37,0 1,0 1,1 0.37,1")
    page.locator("[data-do=corners]").click()
    page.locator("#area0").fill("20")
    page.locator("#area0").blur()
    expect(page.locator("#regiontable")).to_contain_text("per m²")
    with page.expect_download() as download:
        page.locator("[data-do=csv]").click()
    [row] = csv.DictReader(io.StringIO(download.value.path().read_text()))
    a, b = float(row["region: a"]), float(row["region: b"])
    assert a + b == pytest.approx(result.count, abs=0.02) and row["true count"] == "50"
    assert float(row["region per m2: a"]) == pytest.approx(a / 20, abs=1e-3)
    cells = result.density.sum(axis=0)
    edge = 0.37 * 480 / result.stride
    assert a == pytest.approx(cells[: int(edge)].sum() + cells[int(edge)] * (edge % 1), abs=0.02)
    page.keyboard.press("Control+z")  # the area
    page.locator("[data-do=undo]").first.click()  # the corners
    expect(page.locator("#regiontable")).to_be_hidden()


def test_what_cannot_be_counted_says_why_and_the_rest_goes_on(address, visit):
    page = visit(address, locale="de-DE")
    video = {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"0"}
    broken = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not an image"}
    choose(page, broken, video, png(render(1, 5, 128, 96).image))
    expect(page.locator("#total")).to_contain_text("2 nicht gezählt")
    states = page.locator("#list .state").all_inner_texts()
    assert "kein Bild, das dieser Browser lesen kann" in states[0] and "headcount serve" in states[1]


def test_a_photo_of_24_megapixels_and_many_small_ones_fit_a_tab(address, visit):
    page = visit(address)
    large = np.full((4000, 6000, 3), 90, np.uint8)
    choose(page, {**png(large, "large.jpg"), "buffer": cv2.imencode(".jpg", large)[1].tobytes()})
    expect(page.locator("#facts")).to_contain_text("6000 × 4000")
    assert tab_bytes(page) < MAX_TAB
    images = [render(i, 5, 64, 64).image for i in range(20)]
    choose(page, *(png(image, f"{i}.png") for i, image in enumerate(images[:5])))
    expect(page.locator("#total")).to_contain_text("in 6 photos")
    before = tab_bytes(page, "VmRSS")
    choose(page, *(png(image, f"{i}.png") for i, image in enumerate(images[5:], 5)))
    expect(page.locator("#overalltext")).to_have_text(re.compile(r"\d+ of \d+ photos, about \d+ (s|min) left"))
    expect(page.locator("#total")).to_contain_text("in 21 photos")
    assert tab_bytes(page, "VmRSS") < before + 40e6


def tab_bytes(page, kind="VmHWM"):
    """Resident memory of the process of a page, now or at its peak, in bytes."""
    session = page.context.browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    figures = []
    for process in processes:
        if process["type"] == "renderer":
            status = Path(f"/proc/{process['id']}/status").read_text()
            figures.append(1024 * int(re.search(rf"{kind}:\s+(\d+)", status)[1]))
    return max(figures)


def test_another_page_counts_a_canvas_with_the_module(address, visit, counter):
    image = render(7, 40, 320, 240).image
    page = visit(address)
    told = page.evaluate(
        """async (source) => {
          const { count } = await import("./headcount.js");
          const image = Object.assign(new Image(), {src: source});
          await image.decode();
          const canvas = Object.assign(document.createElement("canvas"), {width: image.width, height: image.height});
          canvas.getContext("2d").drawImage(image, 0, 0);
          const { density, mask, points, ...result } = await count(canvas);
          return {...result, points, cells: [density.width, density.height, mask.data.length]};
        }""",
        "data:image/png;base64," + base64.b64encode(png(image)["buffer"]).decode(),
    )
    expected = counter.count(image)
    assert told["count"] == pytest.approx(expected.count, rel=0.005) and told["warnings"] == []
    assert told["cells"] == [*expected.density.shape[::-1], expected.mask.size]
    assert np.array(told["points"]) == pytest.approx(expected.points(), abs=0.5)
