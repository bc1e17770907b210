import io
import math
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import tiny_onnx
from PIL import Image

import headcount
from headcount.geometry import at_cells, polygon_mask
from headcount.inference.counter import AHEAD, Counter
from headcount.inference.engines import open_engine
from headcount.inference.result import CountResult
from headcount.io.video import Frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def white(folder):
    """A counter that counts white pixels, exactly."""
    return headcount.load(tiny_onnx.white_pixels(folder / "white.onnx"), precision="fp32")


@pytest.fixture(scope="module")
def network(folder):
    return open_engine(tiny_onnx.network(folder / "network.onnx"), precision="fp32")


def test_one_image(white, tmp_path):
    path = tmp_path / "crowd.png"
    Image.fromarray(tiny_onnx.dots(23, height=61, width=97)).save(path)
    result = white.count(path)
    assert result.count == pytest.approx(23, rel=1e-5)
    assert result.density.shape == result.mask.shape == (16, 25)  # ceil(61 / 4), ceil(97 / 4)
    assert result.density.dtype == result.mask.dtype == np.float32
    assert (result.width, result.height, result.stride) == (97, 61, 4)
    assert (result.model, result.path, result.error) == ("white", str(path), None)
    row = result.to_dict()
    assert list(row) == ["path", "count", "low", "high", "width", "height", "scale", "seconds", "model"]
    assert row["count"] == 23.0
    assert result.overlay(path).shape == (61, 97, 3)


def test_every_kind_of_input_gives_the_same_result(white, tmp_path):
    image = tiny_onnx.dots(9)
    path = tmp_path / "nine.png"
    Image.fromarray(image).save(path)
    as_bytes, as_file = path.read_bytes(), io.BytesIO(path.read_bytes())
    inputs = [path, str(path), as_bytes, as_file, Image.open(path), image, image[:, :, 0], Frame(0, 0.0, image)]
    results = list(white.count_many(inputs))
    assert [r.error for r in results] == [None] * len(inputs)
    assert all(isinstance(r, CountResult) and r.count == pytest.approx(9, rel=1e-5) for r in results)
    assert all(np.array_equal(r.density, results[0].density) for r in results)


def test_a_result_is_one_line_and_a_picture_in_a_notebook(white, tmp_path):
    path = tmp_path / "nine.png"
    Image.fromarray(tiny_onnx.dots(9)).save(path)
    result = white.count(path)
    size = f"{result.width}x{result.height}"
    assert repr(result) == f"CountResult({str(path)!r}, 9.0 people, {size}, 'white')"
    assert repr(replace(result, path=None, low=7.2, high=11.9)) == f"CountResult(9.0 people (7-12), {size}, 'white')"
    [failed] = white.count_many([tmp_path / "none.png"])
    assert "\n" not in repr(failed) and "no such file" in repr(failed) and failed._repr_png_() is None
    frame = replace(result, path="clip.mp4", time=1.5)
    for one in (result, replace(result, path=None), frame):
        assert Image.open(io.BytesIO(one._repr_png_())).size == (result.width, result.height)
    assert np.array_equal(result.overlay(), result.overlay(path))
    with pytest.raises(ValueError, match=r"give it to overlay, as result\.overlay\(image\)"):
        replace(result, path=None).overlay()


def test_results_become_a_table(white, monkeypatch):
    class DataFrame(list):
        columns = property(lambda self: list(self[0]))

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=DataFrame))
    table = headcount.to_dataframe(white.count_many([tiny_onnx.dots(n) for n in (3, 5)]))
    assert [row["count"] for row in table] == [3, 5] and "height" in table.columns


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (["a.jpg", "b.jpg"], "list: is not one image; give each to count, or all to count_many"),
        (None, "NoneType: is not an image; give a path, bytes, a Pillow image or an array"),
        (io.StringIO("a.jpg"), "open file: gives text; open it for bytes, as open(path, 'rb')"),
    ],
)
def test_what_is_not_an_image_is_named(white, image, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        white.count(image)


def test_a_bad_input_never_loses_the_others(white, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    results = white.count_many(
        [tiny_onnx.dots(4), tmp_path / "bad.jpg", tmp_path / "none.jpg", "", None, tiny_onnx.dots(6)]
    )
    good, *bad, last = results
    assert (round(good.count), round(last.count)) == (4, 6)
    assert all(math.isnan(r.count) and r.error and "\n" not in r.error for r in bad)
    assert "bad.jpg" in bad[0].error and bad[0].path.endswith("bad.jpg")
    assert bad[0].to_dict()["count"] is None and bad[0].to_dict()["error"] == bad[0].error


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tiff"])
def test_of_an_animation_the_first_image_is_counted_and_the_result_says_so(white, tmp_path, suffix):
    first, second = (Image.fromarray(tiny_onnx.dots(people)) for people in (9, 20))
    first.save(tmp_path / f"alone{suffix}", lossless=True)
    first.save(tmp_path / f"several{suffix}", save_all=True, append_images=[second], lossless=True)
    alone, several = (white.count(tmp_path / f"{name}{suffix}") for name in ("alone", "several"))
    assert several.count == alone.count == pytest.approx(9, rel=1e-5)
    assert alone.warning is None and "only the first is counted" in several.warning
    content = (tmp_path / f"several{suffix}").read_bytes()
    assert white.count(content).warning == several.warning


def test_the_preview_in_a_photo_is_no_second_image(white, tmp_path):
    """Cameras put a small preview, a depth map or a brightness map behind a photo, in a JPEG of several images."""
    photo = Image.fromarray(tiny_onnx.dots(9))
    photo.save(tmp_path / "photo.jpg", "MPO", save_all=True, append_images=[photo.resize((48, 32))])
    assert white.count(tmp_path / "photo.jpg").warning is None


def test_counting_many_reads_a_little_ahead_and_no_more(white):
    asked = []

    def camera():
        for number in range(1000):
            asked.append(number)
            yield tiny_onnx.dots(number)

    results = white.count_many(camera())
    assert [round(next(results).count) for _ in range(3)] == [0, 1, 2]
    results.close()
    assert 3 <= len(asked) <= 3 + AHEAD + 1, "one more may be in the making"


def test_a_camera_is_not_read_ahead(white):
    asked = []
    frames = (asked.append(number) or tiny_onnx.dots(number) for number in range(1000))
    results = white.stream(frames, live=True)
    for number in range(3):
        result, image = next(results)
        assert round(result.count) == number and image.shape == (64, 96, 3) and len(asked) == number + 1


class Batches:
    """An engine that takes four images at once, and cannot count one with a red corner."""

    batch = 4

    def __init__(self, engine):
        self.name, self.meta, self.precision = "batches", engine.meta, engine.precision
        self.engine, self.shapes = engine, []

    def run(self, images):
        self.shapes.append(images.shape[:3])
        if (images[:, 0, 0] == [255, 0, 0]).all(axis=1).any():
            raise RuntimeError("out of memory")
        return self.engine.run(images)


def test_images_of_like_sizes_are_counted_together(folder):
    engine = Batches(
        headcount.load(tiny_onnx.white_pixels(folder / "padded.onnx", blank=(0, 0, 0)), precision="fp32").engine
    )
    sizes = [(60, 90), (64, 65), (50, 128), (61, 97), (64, 100), (130, 64), (131, 64)]  # five of 64x128, two of 192x64
    images = [tiny_onnx.dots(5 + i, *size) for i, size in enumerate(sizes)]
    results = list(Counter(engine).count_many([*images[:2], "none.jpg", *images[2:]]))
    assert [r.error is None and round(r.count) for r in results] == [5, 6, False, 7, 8, 9, 10, 11]
    assert [r.density.shape for r in results[-2:]] == [(33, 16), (33, 16)]
    assert engine.shapes == [(2, 64, 128), (3, 64, 128), (2, 192, 64)]


def test_a_batch_that_fails_loses_one_image(white):
    red = tiny_onnx.dots(3)
    red[0, 0] = [255, 0, 0]
    first, second, third = Counter(Batches(white.engine)).count_many([tiny_onnx.dots(2), red, tiny_onnx.dots(4)])
    assert (round(first.count), second.error, round(third.count)) == (2, "out of memory", 4)


def test_a_file_of_too_many_pixels_is_refused(white, tmp_path):
    Image.fromarray(tiny_onnx.dots(3)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="large.png: 96x64"):
        Counter(white.engine, max_pixels=96 * 64 - 1).count(tmp_path / "large.png")


def test_an_image_without_people_counts_nobody(white):
    assert white.count(np.zeros((30, 40, 3), np.uint8)).count == 0


def test_only_inside_the_roi(white):
    image = np.zeros((64, 96, 3), np.uint8)
    image[10, 10] = image[10, 60] = image[50, 80] = 255
    right = [(48, 0), (96, 0), (96, 64), (48, 64)]
    result = white.count(image, roi=right)
    assert result.count == pytest.approx(2, rel=1e-5)
    assert result.density[:, :12].sum() == 0
    assert image[10, 10, 0] == 255, "the caller's image is left as it was"
    for bad in ([(0, 0), (1, 1)], "roi", [(0, 0, 0)] * 3, [(0, 0), (1, math.nan), (2, 2)], np.add(right, 500)):
        with pytest.raises(ValueError, match="roi"):
            white.count(image, roi=bad)


def test_a_black_outside_is_not_counted_even_where_the_model_sees_people(network):
    """The network gives something everywhere; outside the polygon that is thrown away."""
    image = np.full((64, 96, 3), 255, np.uint8)
    result = Counter(network).count(image, roi=[(0, 0), (48, 0), (48, 64), (0, 64)])
    assert (result.density[:, :12] > 0).any() and not result.density[:, 12:].any() and not result.mask[:, 12:].any()


def test_cells_belong_to_a_roi_by_their_own_centres():
    """Also where the image is no multiple of the stride: cell i is at (i + 0.5) x 8, up to the far border."""
    cells = at_cells(polygon_mask([(0, 0), (800, 0), (800, 41), (0, 41)], 41, 1025), 6, 129, 8)
    assert cells.shape == (6, 129) and (cells.sum(axis=1) == 100).all()


def test_small_images_are_enlarged_to_the_models_min_side(folder):
    counter = headcount.load(tiny_onnx.white_pixels(folder / "large.onnx", min_side=64), precision="fp32")
    result = counter.count(np.full((32, 50, 3), 255, np.uint8))
    assert result.density.shape == (16, 25)  # of 64 x 100
    assert (result.width, result.height, result.stride) == (50, 32, 2.0)
    assert counter.count(np.zeros((64, 80, 3), np.uint8)).stride == 4
    strip = counter.count(np.zeros((1, 400, 3), np.uint8))  # at most 8 times: 8 x 3200
    assert strip.density.shape == (2, 800)


def test_the_public_names():
    names = {"load", "Counter", "CountResult", "train", "evaluate", "export", "finetune", "to_dataframe"}
    assert names == set(headcount.__all__)
    assert headcount.Counter is Counter and set(headcount.__all__) <= set(dir(headcount))
    with pytest.raises(AttributeError, match="nothing"):
        _ = headcount.nothing


def test_evaluate_is_the_function_however_it_was_imported():
    import headcount.evaluation.report  # binds the module's name in the package, which must not hide the function
    from headcount.evaluation.report import Report

    assert callable(headcount.evaluate) and headcount.evaluate.__module__ == "headcount.evaluation.report"
    assert Report.__name__ == "Report"
