import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import tiny_onnx

from headcount.inference import tiling
from headcount.inference.engines import open_engine
from headcount.models.backbones import BACKBONES
from headcount.models.counting_model import BASELINES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def network(folder):
    return open_engine(tiny_onnx.network(folder / "network.onnx"), precision="fp32")


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("blank", [(), (0, 0, 0)])
@pytest.mark.parametrize(("height", "width"), [(211, 333), (64, 500), (401, 75)])
@pytest.mark.parametrize("max_tile", [5_000, 12_000])
def test_windows_count_what_the_whole_image_does(folder, height, width, max_tile, blank):
    engine = open_engine(tiny_onnx.network(folder / f"blank{len(blank)}.onnx", blank=blank), precision="fp32")
    [(density, mask, _)] = tiling.run(engine, [noise(height, width)])
    [(cut_density, cut_mask, _)] = tiling.run(engine, [noise(height, width)], max_tile)
    assert density.shape == mask.shape == (math.ceil(height / 4), math.ceil(width / 4))
    assert cut_density.sum() == pytest.approx(density.sum(), rel=1e-3)
    np.testing.assert_allclose(cut_density, density, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cut_mask, mask, rtol=1e-4, atol=1e-5)


def test_windows_without_a_halo_do_not(network):
    """The test above can fail: the halo is what makes windows exact."""
    no_halo = SimpleNamespace(meta=replace(network.meta, halo=0), run=network.run, precision="fp32", name="openvino")
    [(whole, *_)], [(cut, *_)] = tiling.run(network, [noise(211, 333)]), tiling.run(no_halo, [noise(211, 333)], 12_000)
    assert np.abs(cut - whole).max() > 0.01


@pytest.mark.parametrize("halo", [0, 20, 256])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5000, 20), (3001, 4003), (1000, 1000), (8704, 11584)])
def test_windows_keep_each_pixel_once_with_a_halo_around(height, width, halo):
    rows, columns = tiling.plan(height, width, 1_000_000, pad=8, halo=halo)
    halo = math.ceil(halo / 8) * 8
    for length, axis in ((height, rows), (width, columns)):
        assert [first for *_, first, _ in axis] == [0, *(last for *_, last in axis[:-1])] and axis[-1][3] == length
        assert all(window.start % 8 == window.first % 8 == 0 for window in axis)
        for start, end, first, last in axis:
            assert first < last and start <= max(0, first - halo) and end >= min(length, last + halo)
        sizes = [end - start for start, end, *_ in axis]
        assert max(sizes) - min(sizes) < 8, "one size, so that the engine meets one size; the image may end sooner"
    assert max(r[1] - r[0] for r in rows) * max(c[1] - c[0] for c in columns) <= 1_000_000


def test_the_fewest_pixels_are_counted_twice():
    rows, columns = tiling.plan(3008, 4032, 8_400_000, pad=32, halo=256)
    assert (len(rows), len(columns)) == (1, 2)
    assert sum(end - start for start, end, *_ in columns) == 4032 + 2 * 256


def test_a_halo_as_large_as_the_limit_still_ends(network):
    rows, columns = tiling.plan(4000, 4000, 10_000, pad=32, halo=480)
    assert rows[-1][3] == columns[-1][3] == 4000 and len(rows) < 9


def test_a_large_image_is_cut_in_windows_of_one_size(folder):
    """Of a network whose windows take 226 bytes per pixel in fp32."""
    engine = open_engine(tiny_onnx.white_pixels(folder / "white.onnx", blank=(0, 0, 0)), precision="fp32")
    meta = replace(engine.meta, config={"backbone": "lite0"})
    image = np.zeros((2100, 3500, 3), np.uint8)
    image[::100, ::100] = 255
    runs = []

    def run(images):
        runs.append(images.shape[1:3])
        return engine.run(images)

    spy = SimpleNamespace(meta=meta, precision="fp32", name="openvino", run=run)
    [(density, *_)] = tiling.run(spy, [image])
    assert density.sum() == pytest.approx(21 * 35, rel=1e-4) and density.shape == (525, 875)
    assert len(runs) == 2 and len(set(runs)) == 1 and all(h * w <= 5_200_000 for h, w in runs)


def test_sizes_fall_into_buckets_where_the_model_says_what_to_pad_with(network):
    meta = replace(network.meta, pad=32, padding_color=(124, 116, 104))
    assert tiling.padded_size((577, 768, 3), meta) == (640, 768)
    assert tiling.padded_size((577, 768), replace(meta, padding_color=())) == (577, 768)
    assert tiling.padded_size((1, 1), replace(meta, pad=24)) == (192, 192)


def test_padding_is_of_the_models_own_color():
    part = tiling.cut(noise(10, 12), tiling.Window(4, 12, 4, 12), tiling.Window(8, 16, 8, 16), (1, 2, 3))
    assert (part[:6, :4] == noise(10, 12)[4:, 8:]).all()
    assert (part[6:] == [1, 2, 3]).all() and (part[:, 4:] == [1, 2, 3]).all()


def engine_of(settings, precision="fp16", name="openvino"):
    """What tiling looks at to find how large a window may be."""
    return SimpleNamespace(meta=SimpleNamespace(config=settings), precision=precision, name=name)


def test_half_precision_affords_larger_windows():
    full, half = (engine_of({"backbone": "lite0"}, precision) for precision in ("fp32", "bf16"))
    assert 2 * tiling.largest(full, 10**6) > tiling.largest(half, 10**6) > 1.8 * tiling.largest(full, 10**6)
    assert tiling.largest(half, 3840 * 2176) > 3840 * 2176, "a 4K frame whole"
    assert tiling.largest(half, 10**8) * 118 + 3 * 10**8 <= tiling.MEMORY and tiling.largest(half, 10**10) > 10**6


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_windows_of_wider_networks_are_smaller(precision):
    lite, vgg16 = (tiling.largest(engine_of({"backbone": name}, precision), 10**6) for name in ("lite0", "vgg16"))
    assert 2 * vgg16 < lite
    both = {"members": [{"backbone": "lite0"}, {"backbone": "vgg16"}]}
    together = tiling.bytes_per_pixel(engine_of(both, precision))
    assert together == sum(tiling.bytes_per_pixel(engine_of(member, precision)) for member in both["members"])
    unknown = [tiling.largest(engine_of(settings, precision), 10**6) for settings in ({}, {"backbone": "new"})]
    assert max(unknown) <= vgg16, "a model that does not say what it is could be the widest"


def test_figures_are_of_networks_that_exist():
    """A network without a figure is taken for the widest one; one that is measured gets larger windows."""
    assert set(tiling.BYTES) <= {*BACKBONES, *BASELINES} and {"lite0", "vgg16"} <= set(tiling.BYTES)


def test_onnx_runtime_keeps_more_maps_and_gets_smaller_windows():
    openvino, other = (engine_of({"backbone": "lite0"}, "fp32", name) for name in ("openvino", "onnxruntime (cpu)"))
    assert 2 * tiling.largest(other, 10**6) < tiling.largest(openvino, 10**6)
