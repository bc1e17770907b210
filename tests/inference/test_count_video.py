"""Counter.count_video: which frames are counted, and that roi, scale and regions act as they do on an image."""

import cv2
import numpy as np
import pytest
import shapely
from helpers import tiny_onnx

import headcount
from headcount.io.images import MediaError
from headcount.io.video import read_frames
from headcount.regions.region import Region
from headcount.synthetic.scenes import render

FPS = 4
BLOCK = 16  # pixels a side of a white block, which the video codec keeps as it is
RIGHT = [(48, 0), (96, 0), (96, 64), (48, 64)]


def write_clip(path, frames, fps=FPS):
    """Motion JPEG, which OpenCV writes without further packages."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    writer.release()
    return path


def blocks(number):
    """uint8 (64,96,3): one white block in the left half, and `number` (0-12) in the right half."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[16:32, 16:32] = 255
    for i in range(number):
        y, x = BLOCK * (i // 3), 48 + BLOCK * (i % 3)
        image[y : y + BLOCK, x : x + BLOCK] = 255
    return image


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Three seconds: frame i has i white blocks in the right half."""
    return write_clip(tmp_path_factory.mktemp("clips") / "blocks.avi", [blocks(i) for i in range(12)])


@pytest.fixture(scope="module")
def white(tmp_path_factory):
    """A counter of white pixels."""
    return headcount.load(tiny_onnx.white_pixels(tmp_path_factory.mktemp("models") / "white.onnx"), precision="fp32")


def counted(results):
    """Each result's count in white blocks."""
    return [result.count / BLOCK**2 for result in results]


@pytest.mark.parametrize(
    ("every", "frames"),
    [("1s", [0, 4, 8]), ("0.5s", [0, 2, 4, 6, 8, 10]), ("5f", [0, 5, 10]), (6, [0, 6]), ("1f", list(range(12)))],
)
def test_frames_are_counted_at_the_times_that_are_asked_for(white, clip, every, frames):
    results = list(white.count_video(clip, every=every))
    assert counted(results) == pytest.approx([1 + i for i in frames], abs=0.1)
    assert [result.time for result in results] == pytest.approx([i / FPS for i in frames], abs=0.01)
    assert all(result.error is None and result.path == str(clip) for result in results)
    assert all((result.width, result.height, result.model) == (96, 64, "white") for result in results)


def test_a_frame_each_second_is_the_default(white, clip):
    assert [result.time for result in white.count_video(str(clip))] == pytest.approx([0, 1, 2], abs=0.01)


def test_each_result_is_that_of_its_frame(white, clip):
    regions = [Region("right", shapely.Polygon(RIGHT))]
    options = {"roi": [(0, 0), (80, 0), (80, 64), (0, 64)], "scale": 0.5, "regions": regions}
    results = list(white.count_video(clip, "3f", **options))
    frames = list(read_frames(clip, "3f"))
    assert len(results) == len(frames) == 4
    for result, frame in zip(results, frames, strict=True):
        alone = white.count(frame, **options)
        np.testing.assert_array_equal(result.density, alone.density)
        assert (result.count, result.time, result.regions) == (alone.count, frame.time, alone.regions)


def test_only_the_roi_is_counted(white, clip):
    results = list(white.count_video(clip, roi=RIGHT))
    assert counted(results) == pytest.approx([0, 4, 8], abs=0.1)
    assert not any(result.density[:, :12].any() for result in results)


def test_scale_is_applied_to_every_frame(white, clip):
    """White pixels of a frame at half its size are a quarter."""
    results = list(white.count_video(clip, scale=0.5))
    assert counted(results) == pytest.approx([0.25 * n for n in (1, 5, 9)], abs=0.05)
    assert {(result.stride, result.density.shape) for result in results} == {(8.0, (8, 12))}


def test_regions_are_counted_in_every_frame(white, clip):
    half = Region("left", shapely.box(0, 0, 0.5, 1), fractions=True)
    results = list(
        white.count_video(clip, regions=iter([half, Region("right", shapely.Polygon(RIGHT), max=5 * BLOCK**2)]))
    )
    left, right = zip(*(result.regions for result in results), strict=True)
    assert [region.count / BLOCK**2 for region in left] == pytest.approx([1, 1, 1], abs=0.1)
    assert [region.count / BLOCK**2 for region in right] == pytest.approx([0, 4, 8], abs=0.1)
    assert [region.over for region in right] == [False, False, True]
    assert [region["name"] for region in results[0].to_dict()["regions"]] == ["left", "right"]


def test_a_region_outside_the_frame_is_an_error_of_each_result(white, clip):
    results = list(white.count_video(clip, regions=[Region("away", shapely.box(500, 500, 600, 600))]))
    assert len(results) == 3 and all('region "away"' in result.error for result in results)


def test_frames_are_read_as_results_are_taken(white, clip):
    results = white.count_video(clip, "1f")
    assert next(results).time == 0
    results.close()  # which closes the file, and ends the thread that reads ahead
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize(("every", "message"), [("1s", "none.avi"), ("soon", "soon")])
def test_what_cannot_be_read_is_an_error_in_one_line(white, clip, every, message):
    source = clip if every == "soon" else clip.with_name("none.avi")
    with pytest.raises(MediaError, match=message) as error:
        list(white.count_video(source, every))
    assert "\n" not in str(error.value)


def test_a_rendered_crowd_is_counted_as_on_its_stills(tmp_path):
    """The shipped model on a clip in which a crowd arrives."""
    stills = [render(910_000_000, people, 640, 480).image for people in (20, 120, 300)]
    path = write_clip(tmp_path / "crowd.avi", [still for still in stills for _ in range(FPS)])
    counter = headcount.load()
    counts = [result.count for result in counter.count_video(path)]
    assert counts == pytest.approx([counter.count(still).count for still in stills], rel=0.1, abs=2)
    assert counts == sorted(counts) and counts[-1] > 2 * counts[0]
