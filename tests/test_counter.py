import math
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from PIL import Image

import headcount
from headcount.counter import Counter, CountResult, at_cells, plan_tiles, polygon_mask
from headcount.engines import open_engine
from headcount.media import Frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def white(folder):
    """A counter that counts white pixels, exactly."""
    return headcount.load(tiny.white_pixels(folder / "white.onnx"), precision="fp32")


@pytest.fixture(scope="module")
def network(folder):
    return open_engine(tiny.network(folder / "network.onnx"), precision="fp32")


def test_one_picture(white, tmp_path):
    path = tmp_path / "crowd.png"
    Image.fromarray(tiny.dots(23, height=61, width=97)).save(path)
    result = white.count(path)
    assert result.count == pytest.approx(23, rel=1e-5)
    assert result.density.shape == result.mask.shape == (16, 25)  # ceil(61 / 4), ceil(97 / 4)
    assert result.density.dtype == result.mask.dtype == np.float32
    assert (result.width, result.height, result.stride) == (97, 61, 4)
    assert (result.model, result.path, result.error) == ("white", str(path), None)
    row = result.to_dict()
    assert list(row) == ["path", "count", "low", "high", "width", "height", "seconds", "model"]
    assert row["count"] == 23.0
    assert result.overlay(path).shape == (61, 97, 3)


def test_every_kind_of_input_gives_the_same_result(white, tmp_path):
    image = tiny.dots(9)
    path = tmp_path / "nine.png"
    Image.fromarray(image).save(path)
    inputs = [path, str(path), path.read_bytes(), Image.open(path), image, image[:, :, 0], Frame(0, 0.0, image)]
    results = list(white.count_many(inputs))
    assert [r.error for r in results] == [None] * len(inputs)
    assert all(isinstance(r, CountResult) and r.count == pytest.approx(9, rel=1e-5) for r in results)
    assert all(np.array_equal(r.density, results[0].density) for r in results)


def test_a_bad_input_never_loses_the_others(white, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not a picture")
    results = white.count_many([tiny.dots(4), tmp_path / "bad.jpg", tmp_path / "none.jpg", "", None, tiny.dots(6)])
    good, *bad, last = results
    assert (round(good.count), round(last.count)) == (4, 6)
    assert all(math.isnan(r.count) and r.error and "\n" not in r.error for r in bad)
    assert "bad.jpg" in bad[0].error and bad[0].path.endswith("bad.jpg")
    assert bad[0].to_dict()["count"] is None and bad[0].to_dict()["error"] == bad[0].error


def test_counting_many_starts_before_all_are_there(white):
    def camera():
        yield tiny.dots(1)
        raise AssertionError("asked for more than was needed")

    assert next(white.count_many(camera())).count == pytest.approx(1, rel=1e-5)


def test_a_picture_without_people_counts_nobody(white):
    assert white.count(np.zeros((30, 40, 3), np.uint8)).count == 0


def test_only_inside_the_roi(white):
    image = np.zeros((64, 96, 3), np.uint8)
    image[10, 10] = image[10, 60] = image[50, 80] = 255
    right = [(48, 0), (96, 0), (96, 64), (48, 64)]
    result = white.count(image, roi=right)
    assert result.count == pytest.approx(2, rel=1e-5)
    assert result.density[:, :12].sum() == 0
    assert image[10, 10, 0] == 255, "the caller's picture is left as it was"
    for bad in ([(0, 0), (1, 1)], "roi", [(0, 0, 0)] * 3, [(0, 0), (1, math.nan), (2, 2)], np.add(right, 500)):
        with pytest.raises(ValueError, match="roi"):
            white.count(image, roi=bad)


def test_a_black_outside_is_not_counted_even_where_the_model_sees_people(network):
    """The network gives something everywhere; outside the polygon that is thrown away."""
    image = np.full((64, 96, 3), 255, np.uint8)
    result = Counter(network).count(image, roi=[(0, 0), (48, 0), (48, 64), (0, 64)])
    assert (result.density[:, :12] > 0).any() and not result.density[:, 12:].any() and not result.mask[:, 12:].any()


def test_cells_belong_to_a_roi_by_their_own_centres():
    """Also where the picture is no multiple of the stride: cell i is at (i + 0.5) x 8, up to the far border."""
    cells = at_cells(polygon_mask([(0, 0), (800, 0), (800, 41), (0, 41)], 41, 1025), 6, 129, 8)
    assert cells.shape == (6, 129) and (cells.sum(axis=1) == 100).all()


def test_small_pictures_are_enlarged_to_the_models_min_side(folder):
    counter = headcount.load(tiny.white_pixels(folder / "large.onnx", min_side=64), precision="fp32")
    result = counter.count(np.full((32, 50, 3), 255, np.uint8))
    assert result.density.shape == (16, 25)  # of 64 x 100
    assert (result.width, result.height, result.stride) == (50, 32, 2.0)
    assert counter.count(np.zeros((64, 80, 3), np.uint8)).stride == 4
    strip = counter.count(np.zeros((1, 400, 3), np.uint8))  # at most 8 times: 8 x 3200
    assert strip.density.shape == (2, 800)


@pytest.mark.parametrize(("height", "width"), [(211, 333), (64, 500), (401, 75)])
@pytest.mark.parametrize("max_tile", [5_000, 12_000])
def test_tiles_count_what_the_whole_picture_does(network, height, width, max_tile):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    whole, tiled = Counter(network).count(image), Counter(network, max_tile).count(image)
    assert tiled.density.shape == whole.density.shape
    assert tiled.count == pytest.approx(whole.count, rel=1e-3)
    np.testing.assert_allclose(tiled.density, whole.density, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tiled.mask, whole.mask, rtol=1e-4, atol=1e-5)


def test_tiles_without_a_halo_do_not(network):
    """The test above can fail: the halo is what makes tiles exact."""
    image = np.random.default_rng(0).integers(0, 256, (211, 333, 3), dtype=np.uint8)
    no_halo = SimpleNamespace(meta=SimpleNamespace(**{**vars(network.meta), "halo": 0}), run=network.run)
    whole, tiled = Counter(network).count(image), Counter(no_halo, 12_000).count(image)
    assert np.abs(tiled.density - whole.density).max() > 0.01


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5000, 20), (3001, 4003), (1000, 1000)])
def test_tiles_cover_each_pixel_once_and_are_bounded(height, width):
    rows, columns = plan_tiles(height, width, 1_000_000, pad=8, halo=20)
    for length, axis in ((height, rows), (width, columns)):
        assert [start for start, *_ in axis] == [0, *(end for _, end, *_ in axis[:-1])] and axis[-1][1] == length
        assert all(start % 8 == low % 8 == 0 for start, _, low, _ in axis)
        assert all(low == max(0, start - 24) and high == min(length, end + 24) for start, end, low, high in axis)
    largest = max(r[3] - r[2] for r in rows) * max(c[3] - c[2] for c in columns)
    assert largest <= 1_000_000
    sizes = [end - start for start, end, *_ in rows]
    assert max(sizes) - min(sizes[:-1] or sizes) == 0, "equal tiles, the last one may be smaller"


def test_a_large_picture_is_cut_and_counted(white):
    image = np.zeros((2100, 2500, 3), np.uint8)
    image[::100, ::100] = 255
    runs = []
    engine = SimpleNamespace(meta=white.engine.meta, run=lambda x: runs.append(x.shape) or white.engine.run(x))
    assert Counter(engine).count(image).count == pytest.approx(21 * 25, rel=1e-4)
    assert len(runs) == 2 and all(h * w <= 4_000_000 for _, h, w, _ in runs)


def test_the_public_names():
    assert {"load", "Counter", "CountResult", "train", "evaluate", "export"} == set(headcount.__all__)
    assert headcount.Counter is Counter and set(headcount.__all__) <= set(dir(headcount))
    with pytest.raises(AttributeError, match="nothing"):
        _ = headcount.nothing


def test_evaluate_is_the_function_however_it_was_imported():
    import headcount.evaluate  # binds the module's name in the package, which must not hide the function
    from headcount.evaluate import Report

    assert callable(headcount.evaluate) and headcount.evaluate.__module__ == "headcount.evaluate"
    assert Report.__name__ == "Report"
