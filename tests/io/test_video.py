"""Reading and writing video: times, intervals, damage."""

import functools
import http.server
import struct
import subprocess
import sys
import threading

import av
import cv2
import numpy as np
import pytest

from headcount.io import video_stream
from headcount.io.frames import Every, parse_every
from headcount.io.images import MediaError
from headcount.io.video import probe, read_frames
from headcount.io.video_source import is_video, public_name
from headcount.io.video_writer import VideoWriter, write_video
from headcount.synthetic.scenes import render

NTSC = 30000 / 1001
CORNERS = np.zeros((64, 96, 3), np.uint8)  # red and green above, blue and white below
CORNERS[:32, :48], CORNERS[:32, 48:], CORNERS[32:, :48], CORNERS[32:, 48:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three seconds at 29.97 frames per second in each container. Each frame is brighter than the one before."""
    folder = tmp_path_factory.mktemp("clips")
    scene = render(1, people=20, width=320, height=240).image // 2
    frames = [scene + np.uint8(i) for i in range(90)]
    for suffix in (".webm", ".mp4"):
        write_video(folder / f"clip{suffix}", frames, NTSC)
    for suffix, codec in ((".avi", "MJPG"), (".mkv", "mp4v")):
        writer = cv2.VideoWriter(str(folder / f"clip{suffix}"), cv2.VideoWriter.fourcc(*codec), NTSC, (320, 240))
        for frame in frames:
            writer.write(frame[:, :, ::-1])
        writer.release()
    return folder


@pytest.mark.parametrize("suffix", [".webm", ".mp4", ".avi", ".mkv"])
def test_frames_carry_the_streams_own_times(clips, suffix):
    frames = list(read_frames(clips / f"clip{suffix}"))
    assert [f.index for f in frames] == list(range(90))
    assert np.abs(np.array([f.time for f in frames]) - np.arange(90) / NTSC).max() < 0.0011
    info = probe(clips / f"clip{suffix}")
    assert info.fps == pytest.approx(NTSC, abs=0.01) and info.seconds == pytest.approx(3.0, abs=0.05) and not info.live


@pytest.mark.parametrize(
    ("every", "indices"),
    [("10f", [0, 10, 20, 30, 40, 50, 60, 70, 80]), ("1s", [0, 30, 60]), ("0.5s", [0, 15, 30, 45, 60, 75])],
)
def test_frames_are_selected_by_number_or_by_time(clips, every, indices):
    frames = list(read_frames(clips / "clip.webm", every))
    assert [f.index for f in frames] == indices
    brightness = np.array([f.image.mean() for f in frames])
    assert np.allclose(brightness - brightness[0], indices, atol=3), (
        "the images are of these frames, not of their neighbours"
    )
    assert len(frames) == probe(clips / "clip.webm").expected(parse_every(every))


def test_intervals_do_not_drift_when_frames_are_uneven():
    every = Every(seconds=0.5)
    times = [0.0, 0.1, 0.49, 0.52, 0.9, 1.7, 1.8, 2.0]
    due = [every.due(i, t) for i, t in enumerate(times)]
    assert [t for t, d, before in zip(times, due, [-1, *due], strict=False) if d > before] == [0.0, 0.52, 1.7, 2.0]


def test_intervals_are_parsed():
    assert parse_every("1s") == parse_every("1000ms") == Every(seconds=1.0) and parse_every("2m") == Every(
        seconds=120.0
    )
    assert parse_every(10) == parse_every("10") == parse_every("10f") == Every(frames=10)
    for wrong in ("0s", "0", "-1s", "1.5f", "often", "", "1h"):
        with pytest.raises(MediaError, match="as 1s or 0.2s"):
            parse_every(wrong)


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_uneven_frames_keep_their_times(tmp_path, suffix):
    times = [0.0, 0.1, 0.49, 0.52, 0.9, 1.7, 1.8, 2.0, 9.0, 9.033]  # a short last frame, and a gap that is no damage
    with VideoWriter(tmp_path / f"phone{suffix}", 30) as writer:
        for time_ in times:
            writer.write(CORNERS, time_)
    assert [f.time for f in read_frames(tmp_path / f"phone{suffix}")] == pytest.approx(times, abs=0.001)
    half_seconds = [f.time for f in read_frames(tmp_path / f"phone{suffix}", "0.5s")]
    assert half_seconds == pytest.approx([0.0, 0.52, 1.7, 2.0, 9.0], abs=0.001)


def copied(source, target, shift=0.0, **options):
    """Copy the frames of a file to another one, `shift` seconds later, without decoding them."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                ticks = round(shift / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                new.mux(packet)
    return target


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """Ten seconds at 25 frames per second with a keyframe every second and B-frames between, as phones write them."""
    path = tmp_path_factory.mktemp("keyed") / "keyed.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "25", "bf": "3", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for shade in range(250):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("every", ["3s", "2.5s", "0.7s", "60f", "7f"])
def test_sparse_reading_gives_the_frames_that_reading_all_would(keyed, every):
    wanted, last = [], -1
    for frame in read_frames(keyed):
        if (due := parse_every(every).due(frame.index, frame.time)) > last:
            wanted, last = [*wanted, frame], due
    sparse = list(read_frames(keyed, every))
    assert [(f.index, f.time) for f in sparse] == [(f.index, f.time) for f in wanted]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(sparse, wanted, strict=True))


def test_groups_without_a_wanted_frame_are_not_decoded(keyed, monkeypatch):
    decoded = []
    decode = video_stream.VideoStream.decode
    monkeypatch.setattr(
        video_stream.VideoStream,
        "decode",
        lambda self, packets: decode(self, (decoded.append(packet) or packet for packet in packets)),
    )
    assert len(list(read_frames(keyed, "5s"))) == 2
    assert len(decoded) == 50, "two groups of ten"


def test_an_untrusted_playlist_is_not_opened(keyed, tmp_path):
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{keyed}\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError, match=r"list.m3u8: no frame can be read"):
        list(read_frames(playlist, untrusted=True))
    assert len(list(read_frames(keyed, "5s", untrusted=True))) == 2


def test_complete_files_that_are_shorter_than_announced(clips, tmp_path):
    trimmed = copied(clips / "clip.mp4", tmp_path / "trimmed.mp4", -1.5, avoid_negative_ts="disabled")
    assert 40 <= len(list(read_frames(trimmed))) <= 50, "the length of an MP4 includes the frames that trimming hides"
    late = copied(clips / "clip.mkv", tmp_path / "late.mkv", 5)
    frames = list(read_frames(late))
    assert len(frames) == 90 and frames[0].time == 0, (
        "the length of a Matroska file includes the time before its first frame"
    )


def test_a_truncated_mp4_is_distinguished_from_a_trimmed_one(clips, tmp_path):
    whole = copied(clips / "clip.mp4", tmp_path / "whole.mp4", movflags="faststart")
    assert len(list(read_frames(whole))) == 90
    data = whole.read_bytes()
    (tmp_path / "short.mp4").write_bytes(data[: len(data) * 2 // 3])
    frames = []
    with pytest.raises(MediaError, match=r"short.mp4: ends after \d\.\d s of the 3\.0 s it announces"):
        for frame in read_frames(tmp_path / "short.mp4"):
            frames.append(frame.index)
    assert 5 < frames[-1] < 80


def test_a_phone_held_upright_gives_upright_frames(tmp_path):
    write_video(tmp_path / "phone.mp4", [CORNERS] * 3)
    data = bytearray((tmp_path / "phone.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 44  # the rotation for the player: here 90 degrees clockwise
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(data)
    image = next(read_frames(tmp_path / "phone.mp4")).image
    assert image.shape == (96, 64, 3)
    assert np.abs(image[80, 48].astype(int) - (0, 255, 0)).max() < 40, (
        "the upper right corner is now the lower right one"
    )


@pytest.mark.parametrize("suffix", [".webm", ".avi", ".mkv"])
def test_a_truncated_file_yields_its_frames_before_the_error(clips, tmp_path, suffix):
    whole = (clips / f"clip{suffix}").read_bytes()
    short = tmp_path / f"short{suffix}"
    short.write_bytes(whole[: len(whole) // 2])
    frames = read_frames(short)
    got = []
    with pytest.raises(MediaError, match=rf"short{suffix}: ends after \d\.\d s of the 3\.0 s it announces"):
        for frame in frames:
            got.append(frame.index)
    assert got == list(range(len(got))) and 5 < len(got) < 60


def test_damage_in_the_middle_is_skipped_and_reported(clips, tmp_path):
    data = bytearray((clips / "clip.mp4").read_bytes())
    middle = data.index(b"mdat") + 2 * len(data) // 3
    data[middle : middle + 1000] = np.random.default_rng(0).bytes(1000)  # several frames, of some 200 bytes each
    (tmp_path / "damaged.mp4").write_bytes(data)
    times = []
    with pytest.raises(MediaError, match="damaged.mp4: damaged in "):
        for frame in read_frames(tmp_path / "damaged.mp4"):
            times.append(frame.time)
    assert 80 <= len(times) < 90 and times[-1] > 2.8


def test_bad_videos_are_named(clips, tmp_path):
    (tmp_path / "noise.mp4").write_bytes(b"not a video" * 50)
    (tmp_path / "empty.webm").touch()
    (tmp_path / "headless.mp4").write_bytes((clips / "clip.mp4").read_bytes()[:9000])  # the index is at the end
    for name, what in (
        ("noise.mp4", "no frame can be read"),
        ("headless.mp4", "no frame can be read"),
        ("gone.mp4", "no such file"),
        ("empty.webm", "is empty"),
    ):
        with pytest.raises(MediaError, match=f"{name}: {what}"):
            list(read_frames(tmp_path / name))


def test_the_decoder_prints_nothing(tmp_path):
    (tmp_path / "noise.mp4").write_bytes(b"not a video" * 50)
    program = f"""
from headcount.io.video import read_frames
try: list(read_frames({str(tmp_path / "noise.mp4")!r}))
except ValueError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == "" and "noise.mp4" in done.stdout


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_written_video_keeps_orientation_and_colors(tmp_path, suffix):
    path = tmp_path / f"colors{suffix}"
    assert write_video(path, [CORNERS] * 3, fps=10) == 3
    image = next(read_frames(path)).image
    for (y, x), color in {(16, 24): (255, 0, 0), (16, 72): (0, 255, 0), (48, 24): (0, 0, 255), (48, 72): 255}.items():
        assert np.abs(image[y, x].astype(int) - color).max() < 40
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_error_ends_a_video_with_the_frames_before_it(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "cut.webm", 5) as video:
        for _ in range(7):
            video.write(CORNERS)
        assert not (tmp_path / "cut.webm").exists()
        raise KeyboardInterrupt
    assert len(list(read_frames(tmp_path / "cut.webm"))) == 7 and len(list(tmp_path.iterdir())) == 1


def test_video_that_cannot_be_written(tmp_path):
    with pytest.raises(MediaError, match="frame 1 is 10x10"):
        write_video(tmp_path / "out.webm", [CORNERS, CORNERS[:10, :10]])
    with pytest.raises(MediaError, match="no frames to write"):
        write_video(tmp_path / "none.webm", [])
    with pytest.raises(MediaError, match=r"cannot write '.avi' video; use .webm or .mp4"):
        write_video(tmp_path / "out.avi", [CORNERS])
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot be written"):
        write_video(tmp_path / "file" / "out.webm", [CORNERS])
    assert not (tmp_path / "none.webm").exists()
    write_video(tmp_path / "odd.webm", [CORNERS[:63, :95]])  # the codec needs even sides
    assert next(read_frames(tmp_path / "odd.webm")).image.shape == (62, 94, 3)


def test_which_arguments_are_videos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(map(is_video, ["a.mp4", "B.MOV", "rtsp://camera/1", "http://camera/video", "0", "12"]))
    assert not any(map(is_video, ["photo.jpg", "folder", "ftp://x/y.jpg", "c:/photo.jpg", "-1"]))
    (tmp_path / "7").touch()
    (tmp_path / "clips.mp4").mkdir()
    assert not is_video("7") and not is_video("clips.mp4")


def test_names_contain_no_passwords():
    assert public_name("rtsp://me:secret@10.0.0.7:554/live?x=1") == "rtsp://10.0.0.7:554/live?x=1"
    assert public_name("clip.mp4") == "clip.mp4" and public_name(0) == "camera 0"


def test_a_file_on_the_network_is_read_once(clips):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=clips))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        assert len(list(read_frames(f"{address}/clip.webm", "10f"))) == 9
        with pytest.raises(MediaError, match="gone.webm: no frame can be read"):
            read_frames(f"{address}/gone.webm")
    finally:
        server.shutdown()
        server.server_close()
