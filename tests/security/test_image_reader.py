"""Images that a decoder cannot cope with cost themselves only: the process that reads them is limited and replaced."""

import os
import signal
import time

import numpy as np
import pytest
from hostile_images import encoded, progressive_jpeg, tile_bomb
from PIL import Image

from headcount.io.images import MediaError, read_image
from headcount.server.image_reader import ImageReader, LargeImageError, TooLargeError


@pytest.fixture
def reader():
    reader = ImageReader(max_pixels=1_000_000)
    yield reader
    reader.close()


PHOTO = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)


def test_it_reads_what_read_image_reads(reader, tmp_path):
    for file in (encoded(Image.fromarray(PHOTO)), encoded(Image.fromarray(PHOTO), "JPEG")):
        assert np.array_equal(reader.read(file).pixels, read_image(file))
    (tmp_path / "a photo.png").write_bytes(encoded(Image.fromarray(PHOTO)))
    assert np.array_equal(reader.read(tmp_path / "a photo.png").pixels, PHOTO)
    frames = [Image.new("L", (20, 10), value) for value in (0, 255)]
    animation = reader.read(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert animation.pixels.shape == (10, 20, 3) and "several images" in animation.warning


def test_its_errors_are_those_of_read_image(reader):
    with pytest.raises(MediaError, match="not an image headcount can read"):
        reader.read(b"no image")
    with pytest.raises(TooLargeError, match="2000x1000 pixels, 2 megapixels; this server's limit is 1; resize it"):
        reader.read(encoded(Image.new("L", (2000, 1000))))
    with pytest.raises(TooLargeError, match="use a smaller scale"):
        reader.read(encoded(Image.new("L", (1000, 500))), scale=2.0)
    assert reader.kills == 0 and reader.read(encoded(Image.fromarray(PHOTO))).warning is None


def test_a_file_that_takes_too_much_memory_is_refused(reader):
    """64 by 64 pixels whose one tile has 400 megapixels: more than an image of the largest size may take."""
    with pytest.raises(MediaError, match="bytes: takes too much memory to decode"):
        reader.read(tile_bomb(20_000))
    assert np.array_equal(reader.read(encoded(Image.fromarray(PHOTO))).pixels, PHOTO)


def test_a_file_that_takes_too_long_is_given_up_and_the_process_replaced():
    reader = ImageReader(max_pixels=20_000_000, seconds=0.3)
    try:
        reader.read(encoded(Image.fromarray(PHOTO)))
        began = time.monotonic()
        with pytest.raises(MediaError, match="takes too long to decode; save it again as an ordinary JPEG"):
            reader.read(progressive_jpeg(600, 11_000))
        assert np.array_equal(reader.read(encoded(Image.fromarray(PHOTO))).pixels, PHOTO)
        assert time.monotonic() - began < 2.5 and reader.kills == 1
    finally:
        reader.close()


def test_a_jpeg_of_too_many_scans_is_refused_before_it_is_decoded():
    """900 kB of 10,000 x 10,000 pixels in 5,000 scans took ten minutes."""
    with pytest.raises(MediaError, match=r"bytes: has 5,0\d\d scans, which take too long to decode"):
        read_image(progressive_jpeg(1000, 5000))
    assert read_image(progressive_jpeg(600, 20)).shape == (600, 600, 3)


def test_a_process_that_the_system_ended_is_replaced(reader):
    reader.read(encoded(Image.fromarray(PHOTO)))
    os.kill(reader.process.pid, signal.SIGKILL)
    reader.process.join()
    assert np.array_equal(reader.read(encoded(Image.fromarray(PHOTO))).pixels, PHOTO)


def test_a_process_that_hangs_is_replaced_within_its_time():
    reader = ImageReader(max_pixels=1_000_000, seconds=0.3)
    try:
        reader.read(encoded(Image.fromarray(PHOTO)))
        os.kill(reader.process.pid, signal.SIGSTOP)
        with pytest.raises(MediaError, match="takes too long"):
            reader.read(encoded(Image.fromarray(PHOTO)))
        assert np.array_equal(reader.read(encoded(Image.fromarray(PHOTO))).pixels, PHOTO)
    finally:
        reader.close()


def test_it_is_alive_only_while_it_can_read(reader):
    reader.read(encoded(Image.fromarray(PHOTO)))
    assert reader.alive
    os.kill(reader.process.pid, signal.SIGKILL)
    reader.process.join()
    assert not reader.alive, "the new process has not started yet"
    end = time.monotonic() + 10
    while not reader.alive:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_reader_of_ordinary_images_leaves_large_ones_to_another():
    reader = ImageReader(max_pixels=1_000_000, decoded_pixels=10_000)
    try:
        for image, scale in ((Image.new("L", (200, 100)), None), (Image.fromarray(PHOTO), 2.0)):
            with pytest.raises(LargeImageError):
                reader.read(encoded(image), scale)
        with pytest.raises(TooLargeError, match="limit is 1"):
            reader.read(encoded(Image.new("L", (2000, 1000))))
        assert reader.read(encoded(Image.fromarray(PHOTO)), 0.5).pixels.shape == PHOTO.shape
    finally:
        reader.close()
