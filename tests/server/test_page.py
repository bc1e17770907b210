"""The page of `headcount serve` in a real browser, with a real server whose model counts white pixels."""

import csv
import io
import json
import re
import time
from itertools import product

import cv2
import numpy as np
import pytest
from helpers.browser import chromium, playwright
from helpers.serving import httpx, server_process

from headcount.datasets.readers import read
from headcount.io.video_writer import write_video
from headcount.regions.region import read_regions
from headcount.synthetic.scenes import render

expect = playwright.expect
PATIENCE = 60_000  # milliseconds; the machine may be busy
expect.set_options(timeout=PATIENCE)

# Records the object URLs that the page has not revoked yet.
WATCH_URLS = """window.urls = new Set();
const make = URL.createObjectURL, free = URL.revokeObjectURL;
URL.createObjectURL = (blob) => { const url = make.call(URL, blob); urls.add(url); return url; };
URL.revokeObjectURL = (url) => { urls.delete(url); free.call(URL, url); };"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with server_process(tmp_path_factory.mktemp("page"), "--max-body", 1) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser():
    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with chromium(*fakes) as browser:
        yield browser


@pytest.fixture
def visit(browser):
    """visit(address, **context) opens a page.

    Afterwards, no page may have loaded anything from elsewhere or logged an error."""
    contexts, wrong = [], []

    def visit(address, **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script(WATCH_URLS)

        def requested(request):
            if not request.url.startswith((address, "blob:", "data:")):
                wrong.append(request.url)

        def said(message):  # the browser also logs 4xx responses, which are not the page's fault
            if message.type == "error" and "Failed to load resource" not in message.text:
                wrong.append(message.text)

        page.on("request", requested)
        page.on("console", said)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not wrong


def pixels(people=12, height=120, width=200):
    """An image of isolated white pixels: each is one person, and one dot."""
    image = np.zeros((height, width, 3), np.uint8)
    places = [(y, x) for y, x in product(range(21, height, 32), range(21, width, 32))][:people]
    image[tuple(zip(*places, strict=True))] = 255
    return image


def photo(name="crowd.png", image=None):
    """A file in the form that playwright takes."""
    data = cv2.imencode(".png", pixels() if image is None else image[..., ::-1])[1].tobytes()
    return {"name": name, "mimeType": "image/png", "buffer": data}


def ask(address, file, query="", **data):
    files = {"file": (file["name"], file["buffer"])}
    return httpx.post(f"{address}/v1/count?{query}", files=files, data=data, timeout=PATIENCE / 1000).json()


def drop(page, file, event="drop"):
    """Drop a file on the page, or paste it."""
    page.evaluate(
        """async ([name, type, bytes, event]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name, {type}));
          document.body.dispatchEvent(event === "paste"
            ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
            : new DragEvent(event, {dataTransfer: data, bubbles: true}));
        }""",
        [file["name"], file["mimeType"], list(file["buffer"]), event],
    )


def choose(page, *files):
    page.set_input_files("#files", list(files))


def mode(page, name):
    page.locator("#modes label", has_text=name).click()


def inside(page, function, argument=None):
    """Call a JavaScript function that sees the names of the page's own modules."""
    names = {"state": "state", "view": "toScreen, currentView", "painting": "drawNow", "chart": "CHART"}
    imports = "".join(f"const {{{what}}} = await import('/static/{name}.js'); " for name, what in names.items())
    return page.evaluate(f"async (argument) => {{ {imports} return ({function})(argument); }}", argument)


def on_screen(page, x, y):
    """The window position of a point of the photo, given in its pixels."""
    page.evaluate("() => new Promise(requestAnimationFrame)")  # earlier changes are laid out first
    return inside(
        page,
        "p => { const b = stage.getBoundingClientRect(), [x, y] = toScreen(p); return [x + b.left, y + b.top]; }",
        [x, y],
    )


def click(page, x, y, **options):
    page.mouse.click(*on_screen(page, x, y), **options)


def seen(page):
    """What the stage shows after it was painted."""
    return inside(page, "() => new Promise(requestAnimationFrame).then(() => { drawNow(); return stage.toDataURL(); })")


def saved(page, button):
    """The bytes of the file that a button downloads."""
    with page.expect_download() as download:
        page.locator(f"[data-do={button}]").click()
    return download.value.path().read_bytes()


def test_dropped_and_pasted_photos_are_counted_as_by_the_api(address, visit):
    page = visit(address)
    scene = photo("<img src=x onerror=alert(1)>.png", render(3, 40, 320, 240).image)
    truth = ask(address, scene)
    drop(page, scene)
    expect(page.locator("#big")).to_have_text(f"{truth['count']:,.0f}")
    expect(page.locator("#facts")).to_contain_text("320 × 240")
    expect(page.locator("#list .name")).to_have_text([scene["name"]])  # as text, not as markup
    drop(page, photo("second.png"), "paste")
    expect(page.locator("#big")).to_have_text("12")
    expect(page.locator("#total")).to_have_text(f"{truth['count'] + 12:,.0f} people in 2 photos")

    rows = list(csv.DictReader(io.StringIO(saved(page, "csv").decode())))
    assert [(row["file"], round(float(row["count"]))) for row in rows] == [
        (scene["name"], round(truth["count"])),
        ("second.png", 12),
    ]
    everything = json.loads(saved(page, "json"))
    assert [row["model"] for row in everything["photos"]] == ["white", "white"]
    view = cv2.imdecode(np.frombuffer(saved(page, "png"), np.uint8), cv2.IMREAD_COLOR)
    assert view.shape == (120, 200, 3) and view[:16, :60].any()  # the number is drawn in the corner


def test_layers_are_drawn_over_the_photo(address, visit):
    page = visit(address)
    choose(page, photo())
    expect(page.locator("#legend")).to_be_visible()
    page.locator("#opacity").fill("100")
    density = seen(page)
    page.locator("#opacity").fill("30")
    faint = seen(page)
    page.locator("#opacity").fill("0")
    nothing = seen(page)
    page.locator("#layers label", has_text="Photo").click()
    expect(page.locator("#legend")).to_be_hidden()
    assert seen(page) == nothing
    page.locator("#layers label", has_text="Mask").click()
    page.locator("#opacity").fill("100")
    assert len({density, faint, nothing, seen(page)}) == 4


def test_two_models_are_compared(address, visit):
    page = visit(address)
    file = photo(image=render(5, 20, 320, 240).image)
    choose(page, file)
    page.locator("#other").select_option("headcount-small")
    numbers = [f"{ask(address, file, f'model={name}')['count']:,.0f}" for name in ("white", "headcount-small")]
    expect(page.locator("#pair b")).to_have_text(numbers)
    expect(page.locator("#wipebox")).to_be_visible()
    page.locator("#wipe").fill("10")
    left = seen(page)
    page.locator("#wipe").fill("90")
    assert seen(page) != left
    page.locator("#model").select_option("headcount-small")  # this recounts all photos
    expect(page.locator("#big")).to_have_text(numbers[1])


def test_regions_are_drawn_counted_and_saved(address, visit, tmp_path):
    page = visit(address)
    choose(page, photo())
    expect(page.locator("#big")).to_have_text("12")
    mode(page, "Regions")
    plain = seen(page)
    for corner in ((0, 0), (100, 0), (100, 120), (0, 120)):
        click(page, *corner)
    page.keyboard.press("Enter")
    drawn = {"name": "Region 1", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "units": "fractions"}
    (truth,) = ask(address, photo(), regions=json.dumps({"regions": [drawn]}))["regions"]
    expect(page.locator("#regiontable b")).to_have_text(f"{truth['count']:.0f}")
    assert seen(page) != plain
    page.locator("#max0").fill("3")
    page.keyboard.press("Tab")
    expect(page.locator("#regiontable tbody")).to_contain_text("too many")
    page.locator("#name0").fill("the left")
    page.keyboard.press("Tab")

    page.get_by_text("Corners as text").click()  # the same without a mouse
    page.locator("#corners").fill(page.locator("#corners").input_value() + "\nall: 0,0 1,0 1,1")
    page.locator("[data-do=corners]").click()
    expect(page.locator("#regiontable b")).to_have_count(2)
    page.locator("#corners").fill("all: 0,0 1,0")
    page.locator("[data-do=corners]").click()
    expect(page.locator("#cornerstrouble")).to_contain_text("numbers from 0 to 1")

    kept = tmp_path / "regions.json"
    kept.write_bytes(saved(page, "saveregions"))
    assert [(region.name, region.max) for region in read_regions(kept)] == [("the left", 3), ("all", None)]
    page.get_by_role("button", name="Delete all").click()
    expect(page.locator("#regiontable tbody tr")).to_have_count(1)
    click(page, 10, 10)
    page.keyboard.press("Escape")
    assert inside(page, "() => state.corners") is None


def test_dots_are_corrected_and_downloaded(address, visit):
    page = visit(address)
    choose(page, photo())
    mode(page, "Correct")
    number = page.locator("#big")
    expect(number).to_have_text("12")
    click(page, 100, 37)
    expect(number).to_have_text("13")
    page.mouse.move(*on_screen(page, 100, 37))
    page.mouse.down()
    page.mouse.move(*on_screen(page, 120, 50), steps=4)
    page.mouse.up()
    expect(page.locator("#dotstate")).to_contain_text("120, 50")
    page.keyboard.press("Control+z")  # the move
    page.keyboard.press("Control+z")  # the dot
    expect(number).to_have_text("12")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+Shift+z")
    expect(number).to_have_text("13")
    click(page, 120, 50, button="right")
    expect(number).to_have_text("12")
    page.mouse.wheel(0, -600)  # zooming does not move the dots on the photo
    click(page, 121, 51)
    rows = list(csv.DictReader(io.StringIO(saved(page, "dotscsv").decode())))
    assert len(rows) == 13 and rows[-1]["image"] == "crowd.png"
    assert (float(rows[-1]["x"]), float(rows[-1]["y"])) == pytest.approx((121, 51), abs=0.5)


def test_dots_of_a_folder_are_saved(visit, tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.png", "sub dir/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo()["buffer"])
    with server_process(tmp_path, "--project", folder) as (address, _):
        page = visit(address)
        number, total = page.locator("#big"), page.locator("#total")
        expect(number).to_have_text("12")
        expect(total).to_have_text("0 of 2 saved")
        click(page, 100, 37)
        expect(page.locator("#list .state").first).to_have_text("not saved")
        asked = []
        page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        page.reload()  # leaving with unsaved dots asks for confirmation
        assert asked == ["beforeunload"]
        expect(number).to_have_text("12")
        click(page, 100, 37)
        page.keyboard.press("Control+s")
        expect(total).to_have_text("1 of 2 saved")
        page.keyboard.press("PageDown")
        expect(page.locator("#stage")).to_have_attribute("aria-label", "sub dir/b.png, not saved yet")
        expect(page.locator("#save")).to_be_enabled()
        page.locator("#save").click()
        expect(total).to_have_text("2 of 2 saved")
        page.reload()
        expect(number).to_have_text("13")
    samples = {sample.image.name: sample.points for sample in read(folder, "csv", "all")}
    assert {name: len(points) for name, points in samples.items()} == {"a.png": 13, "b.png": 12}
    assert np.abs(samples["a.png"] - (100, 37)).sum(axis=1).min() < 1


def test_a_video_gives_a_chart(address, visit, tmp_path):
    frames = [np.full((96, 160, 3), level, np.uint8) for level in (20, 200, 90, 40)]
    write_video(tmp_path / "v.webm", frames, 2)
    page = visit(address)
    choose(page, str(tmp_path / "v.webm"))
    page.locator("#every").select_option("1f")
    mode(page, "Regions")
    for corner in ((0, 0), (80, 0), (80, 96), (0, 96)):
        click(page, *corner)
    page.keyboard.press("Enter")
    page.locator("#startvideo").click()
    expect(page.locator("#videostate")).to_have_text("done, 4 frames")
    assert (
        page.locator("#chart .line").get_attribute("d").count("L") == 3 and page.locator("#chart .region").count() == 1
    )
    page.locator("#plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    rows = list(csv.DictReader(io.StringIO(saved(page, "rowscsv").decode())))
    assert [float(row["time"]) for row in rows] == pytest.approx([0, 0.5, 1, 1.5], abs=0.01)
    assert float(rows[1]["region: Region 1"]) == pytest.approx(float(rows[1]["count"]) / 2, rel=0.02)
    expect(page.locator("#readout")).to_contain_text(f"0.5 s: {float(rows[1]['count']):,.0f} people")
    page.get_by_text("As a table").click()
    expect(page.locator("#rows tbody tr")).to_have_count(4)


def chart_click(page, time, end):
    """Click the chart of a video of `end` seconds at a time."""
    box, x = page.locator("#plot").bounding_box(), inside(page, "() => [CHART.left, CHART.right, CHART.height]")
    left, right, height = (value * box["height"] / x[2] for value in x)
    page.mouse.click(box["x"] + left + (box["width"] - left - right) * time / end, box["y"] + height / 2)


def test_the_frame_shown_belongs_to_the_number_shown(address, visit, tmp_path):
    levels = (20, 200, 90, 40)
    write_video(tmp_path / "v.webm", [np.full((96, 160, 3), level, np.uint8) for level in levels], 2)
    page = visit(address)
    choose(page, str(tmp_path / "v.webm"))
    page.locator("#every").select_option("1f")
    page.locator("#startvideo").click()
    expect(page.locator("#videostate")).to_have_text("done, 4 frames")
    expect(page.locator("#unit")).to_have_text("people at 1.5 s")  # the last number, so the last frame
    wait_for_gray(page, levels[3])
    chart_click(page, 0.55, 1.5)  # near the second frame
    expect(page.locator("#unit")).to_have_text("people at 0.5 s")
    expect(page.locator("#readout")).to_contain_text("0.5 s")
    wait_for_gray(page, levels[1])
    page.keyboard.press("End")
    for _ in range(3):  # faster than a video can seek
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#unit")).to_have_text("people at 0 s")
    wait_for_gray(page, levels[0])


def wait_for_gray(page, level):
    """Wait until the middle of the photo has a gray level; the frames of a video are coded with loss."""
    shown = """() => { drawNow(); const [x, y] = toScreen([80, 48]).map((v) => v * devicePixelRatio);
      return stage.getContext("2d").getImageData(x, y, 1, 1).data[1]; }"""
    expect_soon(lambda: inside(page, shown), lambda gray: abs(gray - level) < 12)


def expect_soon(read, holds):
    end = time.monotonic() + PATIENCE / 1000
    while not holds(value := read()):
        assert time.monotonic() < end, f"it is still {value}"
        time.sleep(0.05)


def test_errors_are_shown_in_full_and_the_other_photos_are_counted(address, visit):
    page = visit(address)
    broken = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not an image"}
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(1_200_000)}
    choose(page, broken, large, photo())
    expect(page.locator("#trouble")).to_have_text(ask(address, broken)["error"])
    states = page.locator("#list .state")
    expect(states).to_have_text([ask(address, broken)["error"], "1.2 MB; this server's limit is 1 MB", "12"])
    assert all(states.evaluate_all("all => all.map((one) => one.scrollWidth <= one.clientWidth)"))  # none is cut off
    expect(page.locator("#total")).to_have_text("12 people in 1 photo; 2 not counted")
    for name in ("notes.png", "large.png"):  # the same again would fail again, and there is no number
        page.locator("#list .pick", has_text=name).click()
        expect(page.locator("#unit")).to_have_text("Not counted")
        expect(page.locator("#big")).to_be_hidden()
        expect(page.locator("#again")).to_be_hidden()
    page.get_by_role("button", name="Remove notes.png").click()
    expect(page.locator("#list li")).to_have_count(2)


def test_try_again_is_offered_where_it_can_help(address, visit):
    page = visit(address)
    page.route("**/v1/count?*", lambda route: route.fulfill(status=504, json={"error": "not counted in time"}), times=1)
    choose(page, photo())
    expect(page.locator("#trouble")).to_have_text("not counted in time")
    page.locator("#again").click()
    expect(page.locator("#big")).to_have_text("12")
    expect(page.locator("#trouble")).to_be_hidden()


def test_many_photos_show_their_progress(address, visit):
    page = visit(address)
    expect(page.locator("#welcome")).to_be_visible()
    held = []  # answers come one by one, when the test releases them
    page.route("**/v1/count?*", lambda route: held.append(route))
    choose(page, *(photo(f"{i}.png") for i in range(5)))
    for counted in range(4):
        while not held:
            page.wait_for_timeout(20)
        words = f"{counted} of 5 photos" + (r", about \d+ (s|min) left" if counted > 1 else "")
        expect(page.locator("#overalltext")).to_have_text(re.compile(f"^{words}$"))
        expect(page.locator("#overallbar")).to_have_js_property("value", counted)
        held.pop(0).continue_()
    expect(page.locator("#overalltext")).to_contain_text("4 of 5")
    page.locator("#list .pick").last.click()  # small photos show that they are being counted, too
    expect(page.locator("#unit .spinner")).to_be_visible()
    expect(page.locator("#list .spinner")).to_have_count(1)
    expect(page.locator("#big")).to_be_hidden()
    while not held:
        page.wait_for_timeout(20)
    held.pop().continue_()
    expect(page.locator("#big")).to_have_text("12")
    expect(page.locator("#overall")).to_be_hidden()


def test_leaving_the_page_asks_while_results_are_not_saved(address, visit):
    page, asked = visit(address), []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.locator("#welcome [data-do=example]").click()
    expect(page.locator("#facts")).to_contain_text("1024 × 768")
    page.reload()
    assert asked == ["beforeunload"]
    page.locator("#welcome [data-do=example]").click()
    expect(page.locator("#facts")).to_contain_text("1024 × 768")
    saved(page, "csv")
    page.reload()
    assert asked == ["beforeunload"]  # a saved result is not lost


def test_the_page_asks_for_the_key_and_waits_for_a_lost_server(visit, tmp_path):
    with server_process(tmp_path, HEADCOUNT_API_KEY="sesame") as (address, process):
        page = visit(address)
        page.locator("#key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#keytrouble")).to_be_visible()
        page.locator("#key").fill("sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#welcome")).to_be_visible()
        choose(page, photo("before.png"))
        expect(page.locator("#big")).to_have_text("12")
        process.terminate()
        process.wait(20)
        choose(page, photo("after.png"))
        expect(page.locator("#banner")).to_contain_text("does not respond")
    with server_process(tmp_path, port=address.rpartition(":")[2], HEADCOUNT_API_KEY="sesame"):
        expect(page.locator("#banner")).to_be_hidden()
        expect(page.locator("#total")).to_have_text("24 people in 2 photos")
        assert page.evaluate("[Object.keys(sessionStorage), Object.keys(localStorage)]") == [["key"], []]


def tab_to(page, selector):
    for _ in range(60):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {selector}")


def test_the_page_works_with_the_keyboard_alone(address, visit):
    page = visit(address)
    expect(page.locator("#welcome")).to_be_visible()
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    tab_to(page, "#welcome [data-do=choose]")
    page.keyboard.press("Enter")
    while not choosers:
        page.wait_for_timeout(50)
    choosers[0].set_files([photo()])
    expect(page.locator("#big")).to_have_text("12")
    expect(page.locator("#live")).to_have_text("crowd.png: 12 people")
    tab_to(page, "[name=mode]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#unit")).to_have_text("dots")
    tab_to(page, "#stage")
    page.keyboard.press("n")
    expect(page.locator("#live")).to_contain_text("Dot 1 of 12")
    first = page.locator("#live").inner_text()
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#live")).not_to_have_text(first)
    page.keyboard.press("Delete")
    expect(page.locator("#big")).to_have_text("11")
    page.keyboard.press("a")
    page.keyboard.press("+")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page.locator("#big")).to_have_text("13")
    tab_to(page, "[data-do=dotscsv]")
    with page.expect_download():
        page.keyboard.press("Enter")


CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1), part = hex.length === 3 ? 1 : 2;
    const linear = [0, 1, 2].map((i) => parseInt(hex.slice(i * part, (i + 1) * part).repeat(3 - part), 16) / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const pairs = ["ink card", "ink bg", "ink tint", "soft card", "soft bg", "soft tint", "accent card", "bad card",
    "on-accent accent", "warn warn-bg"];
  return Math.min(...pairs.map((pair) => {
    const [a, b] = pair.split(" ").map((name) => light(`--${name}`));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""


def test_both_themes_are_readable_and_fit_a_phone(address, visit):
    papers = []
    for scheme in ("light", "dark"):
        page = visit(address, color_scheme=scheme, viewport={"width": 375, "height": 740})
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
        assert page.evaluate(CONTRAST) >= 4.5
        choose(page, photo(), photo("a name that is much too long for the width of a telephone.png"))
        expect(page.locator("#total")).to_have_text("24 people in 2 photos")
        for name in ("Count", "Regions", "Correct"):
            mode(page, name)
            assert page.evaluate("document.documentElement.scrollWidth") == 375
        papers.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert papers[0] != papers[1]
    page.locator("#theme").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    assert page.evaluate("Object.keys(localStorage)") == ["theme"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_control_has_a_name_for_screen_readers(address, visit, scheme):
    page = visit(address, color_scheme=scheme, viewport={"width": 375, "height": 740})
    expect(page.locator("#model")).to_be_visible()
    controls = names_of_controls(page)
    choose(page, photo(), photo("b.png"))
    expect(page.locator("#total")).to_have_text("24 people in 2 photos")
    for name in ("Count", "Regions", "Correct"):
        mode(page, name)
        if name == "Regions":
            page.get_by_text("Corners as text").click()
        page.evaluate("() => new Promise(requestAnimationFrame)")
        controls += names_of_controls(page)
    assert {"combobox", "slider", "radio", "button", "textbox"} <= {role for role, _ in controls}
    assert not [control for control in controls if not control[1]]


def names_of_controls(page):
    """(role, accessible name) of every control, as the browser tells assistive software."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "checkbox", "combobox", "link", "progressbar", "radio", "slider", "spinbutton", "textbox"}
    shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    return [(node["role"]["value"], node.get("name", {}).get("value", "").strip()) for node in shown]


def test_a_phone_shows_the_count_without_scrolling(address, visit):
    page = visit(address, viewport={"width": 375, "height": 667}, has_touch=True, is_mobile=True)
    expect(page.locator("#welcome")).to_be_visible()
    words = page.locator("#welcome").inner_text()
    assert "Ctrl" not in words and "Drop" not in words  # nobody can do that there
    choose(page, photo(), photo("b.png"))
    expect(page.locator("#big")).to_have_text("12")
    expect(page.locator("#big")).to_be_in_viewport(ratio=1)
    choose(page, {"name": "notes.png", "mimeType": "image/png", "buffer": b"not an image"})
    expect(page.locator("#trouble")).to_be_in_viewport(ratio=1)


def test_the_camera_takes_a_photo_and_no_object_url_leaks(address, visit):
    page = visit(address, permissions=["camera"])
    page.locator("#welcome [data-do=camera]").click()
    expect(page.locator("#shoot")).to_be_enabled()
    expect(page.locator("#camera")).to_have_js_property("readyState", 4)
    page.locator("#shoot").click()
    expect(page.locator("#list .name")).to_contain_text(["camera"])
    expect(page.locator("#facts")).to_contain_text("white")
    choose(page, photo())
    expect(page.locator("#big")).to_have_text("12")
    for button in page.get_by_role("button", name="Remove").all()[::-1]:
        button.click()
    expect(page.locator("#welcome")).to_be_visible()
    assert page.evaluate("urls.size") == 0


def test_the_page_works_with_touch_alone(address, visit):
    page = visit(address, viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True)
    choose(page, photo())
    mode(page, "Correct")
    expect(page.locator("#big")).to_have_text("12")
    page.locator("#stage").scroll_into_view_if_needed()
    page.touchscreen.tap(*on_screen(page, 100, 100))
    expect(page.locator("#big")).to_have_text("13")
    page.touchscreen.tap(*on_screen(page, 21, 21))  # a dot: selected, not added
    page.locator("#deletedot").tap()
    expect(page.locator("#big")).to_have_text("12")
    fingers = page.context.new_cdp_session(page)
    (x, y), before = on_screen(page, 100, 60), inside(page, "() => currentView().scale")
    for kind, gap in (("Start", 20), ("Move", 40), ("Move", 80), ("End", None)):
        points = [] if gap is None else [{"x": x - gap, "y": y, "id": 0}, {"x": x + gap, "y": y, "id": 1}]
        fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    assert inside(page, "() => currentView().scale") == pytest.approx(4 * before, rel=0.2)
    assert on_screen(page, 100, 60) == pytest.approx([x, y], abs=12)  # the point between the fingers stays there
    expect(page.locator("#big")).to_have_text("12")


def test_requests_to_a_busy_server_are_retried(address, visit):
    page = visit(address)
    expect(page.locator("#welcome")).to_be_visible()
    refusals = []

    def refuse(route):
        refusals.append(route.request.url)
        route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": "busy"})

    page.route("**/v1/count?*", refuse, times=1)
    choose(page, photo())
    expect(page.locator("#list .state")).to_have_text("busy, retrying in 1 s")
    expect(page.locator("#big")).to_have_text("12")
    assert len(refusals) == 1
