"""The browser counts what Python counts: the same images, and the same rules in JavaScript."""

import base64
import io
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import PATIENCE, chromium, file_server
from PIL import Image

from headcount.geometry import enlargement, resize
from headcount.inference import load, scale, tiling
from headcount.inference.localization import head_points
from headcount.inference.reliability import head_spacing, interval
from headcount.page.site import EXAMPLE, write_site
from headcount.synthetic.scenes import render
from headcount.visualization.heatmap import overlay_layers

SOURCES = Path(__file__).parents[2] / "web" / "src"
ENCODINGS = ({"format": "PNG"}, {"format": "JPEG", "quality": 90}, {"format": "WEBP", "lossless": True})
# Short sides below 448 are enlarged, sizes are no multiples of 64, and more than 1.5 megapixels are counted twice.
SIZES = ((320, 300), (450, 470), (200, 180), (448, 448), (500, 452), (100, 130), (65, 66))
LARGE = (1420, 1064)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_site(folder)
    (folder / "src").symlink_to(SOURCES)
    with file_server(folder) as address, chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address + "manifest.webmanifest")  # a page without a policy of its own
        yield page


@pytest.fixture(scope="module")
def counter():
    return load(precision="fp32")


def encoded(number):
    width, height = LARGE if number == 19 else SIZES[number % len(SIZES)]
    options = ENCODINGS[number % 3]
    file = io.BytesIO()
    Image.fromarray(render(number, 10 + 17 * number, width, height).image).save(file, **options)
    return file.getvalue(), f"image/{options['format'].lower()}"


def in_browser(page, data, kind):
    return page.evaluate(
        """async ([data, type]) => {
          globalThis.counter ??= await (await import("/headcount.js")).open();
          const file = new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], {type});
          const { density, mask, ...result } = await counter.count(file);
          return result;
        }""",
        [base64.b64encode(data).decode(), kind],
    )


def test_twenty_images_and_the_example_count_the_same(page, counter):
    images = [(EXAMPLE.read_bytes(), "image/jpeg"), *(encoded(number) for number in range(20))]
    seen = set()
    for data, kind in images:
        told, expected = in_browser(page, data, kind), counter.count(data)
        assert told["count"] == pytest.approx(expected.count, rel=0.005, abs=0.02)
        assert [told["low"], told["high"]] == pytest.approx([expected.low, expected.high], rel=0.005, abs=0.02)
        assert told["uncertainty"] == pytest.approx(expected.uncertainty, rel=0.01)
        assert told["warnings"] == ([expected.warning] if expected.warning else [])
        assert told["scale"] == pytest.approx(expected.scale)
        assert abs(len(told["points"]) - len(expected.points())) <= 1
        seen.add((expected.warning or "none").split(":")[0][:20])
    assert len(seen) > 1  # images with and without a warning


@pytest.mark.parametrize("format", ["WEBP", "GIF", "PNG"])
def test_an_animation_is_counted_with_a_warning(page, counter, format):
    frames = [Image.fromarray(render(seed, 10, 96, 80).image) for seed in (1, 2)]
    for rest in (frames[1:], []):
        file = io.BytesIO()
        frames[0].save(file, format, save_all=True, append_images=rest)
        told, expected = in_browser(page, file.getvalue(), f"image/{format.lower()}"), counter.count(file.getvalue())
        assert told["warnings"][0] == expected.warning
        assert ("several images" in expected.warning) == bool(rest)


def module(page, name, body, argument):
    """What a JavaScript expression gives that sees one of the modules in web/src as `m` and the argument as `a`."""
    return page.evaluate(f"async (a) => {{ const m = await import('/src/{name}.js'); return {body}; }}", argument)


def test_windows_and_scales_are_those_of_python(page):
    sizes = [(64, 64), (480, 640), (1088, 1920), (3008, 4032), (4032, 6016), (448, 8896), (6048, 8064)]
    cases = [
        (height, width, tile, 32, halo) for height, width in sizes for tile in (4e5, 1.6e6, 9e6) for halo in (0, 256)
    ]
    told = module(page, "tiling", "a.map((case_) => m.plan(...case_))", cases)
    expected = [[[window._asdict() for window in axis] for axis in tiling.plan(*case)] for case in cases]
    assert told == expected
    told = module(page, "scale", "a.map((size) => m.scales(...size))", sizes)
    assert told == [pytest.approx(scale.scales(*size)) for size in sizes]
    told = module(page, "geometry", "a.map((size) => m.enlargement(...size))", [(*size, 448) for size in sizes])
    assert told == [pytest.approx(enlargement(*size, 448)) for size in sizes]


@pytest.mark.parametrize("factor", [0.05, 0.31, 0.5, 0.999, 1.01, 1.7, 8])
def test_images_are_resized_to_the_same_pixels(page, factor):
    image = np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)
    call = (
        "(({data, width, height}) => ({data: [...data], width, height}))(m.resize({data: Uint8Array.from(a.data),"
        " width: 53, height: 37, channels: 3}, a.factor))"
    )
    told = module(page, "geometry", call, {"data": image.ravel().tolist(), "factor": factor})
    expected = resize(image, factor)
    assert (told["height"], told["width"]) == expected.shape[:2]
    difference = np.abs(np.array(told["data"]).reshape(expected.shape) - expected.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.02


def crowd():
    rng = np.random.default_rng(2)
    density = (rng.random((40, 50)) ** 6).astype(np.float32)
    return density, rng.random((40, 50)).astype(np.float32)


def as_cells(values):
    return {"data": values.ravel().tolist(), "width": values.shape[1], "height": values.shape[0]}


CELLS = "({...a.NAME, data: Float32Array.from(a.NAME.data)})"
MAPS = f"({{density: {CELLS.replace('NAME', 'density')}, mask: {CELLS.replace('NAME', 'mask')}}})"


def test_intervals_spacings_and_dots_are_those_of_python(page):
    density, mask = crowd()
    calibration = {"coverage": 0.9, "offset": 10.0, "low": 0.87, "high": 1.14}
    told = module(page, "reliability", "a[0].map((n) => m.interval(n, a[1]))", [[-1, 0, 3.5, 900], calibration])
    assert told == [pytest.approx(interval(n, calibration)) for n in (-1, 0, 3.5, 900)]
    assert module(page, "reliability", "m.interval(3, {})", None) == [None, None]
    maps = {"density": as_cells(density), "mask": as_cells(mask)}
    told = module(page, "reliability", f"m.headSpacing({MAPS}.density, 8)", maps)
    assert told == pytest.approx(head_spacing(density, 8), rel=1e-3)
    assert math.isnan(head_spacing(density * 0, 8))
    told = module(page, "localization", f"m.headPoints({MAPS}, 8, 397, 318)", maps)
    assert np.array(told) == pytest.approx(head_points(density, mask, 8, 397, 318), abs=0.05)


def test_the_layers_over_the_photo_have_the_same_peak_and_colors(page):
    density, mask = crowd()
    maps = {"density": as_cells(density), "mask": as_cells(mask)}
    draw = f"""(async () => {{
        const layers = await m.drawLayers({MAPS}, 8, 397, 318), bitmap = await createImageBitmap(layers.density);
        const context = new OffscreenCanvas(397, 318).getContext("2d");
        context.drawImage(bitmap, 0, 0);
        return {{peak: layers.peak, pixels: [...context.getImageData(0, 0, 397, 318).data]}};
    }})()"""
    told = module(page, "heatmap", f"await {draw}", maps)
    tint, alpha, peak = overlay_layers(density, 318, 397, 8)
    assert told["peak"] == pytest.approx(peak, rel=2e-3)
    pixels = np.array(told["pixels"]).reshape(318, 397, 4)
    assert np.abs(pixels[..., 3] - alpha * 255).max() < 4
    seen = alpha > 0.5
    assert np.abs(pixels[seen][:, :3] - tint[seen].astype(int)).mean() < 3
