"""Decoding the video stream of a file or an address with FFmpeg, through PyAV."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from headcount.io.frames import Every, Frame, VideoInfo
from headcount.io.images import MediaError
from headcount.io.video_source import VideoSource, public_name, url_scheme

if TYPE_CHECKING:
    import av

TIMEOUT = 8.0  # seconds that a stream may take to open, or to deliver its next frame
MAX_DAMAGED = 100  # consecutive damaged packets to skip before a file counts as ended
MAX_GROUP = 500  # packets to hold back while looking for the next keyframe
# Playlists name other files and addresses. These containers hold their own data.
SELF_CONTAINED = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf",
}


class VideoStream:
    """The first video stream of a file or an address. A context that closes it.

    Args:
        source: A path or an address.
        untrusted: Open only containers that hold their own data.
        on_packet: Called for each packet that is read or decoded. What it raises ends the reading.

    Attributes:
        info: What the header states.
        damaged: Packets so far that could not be decoded.

    Raises:
        MediaError: If it cannot be opened, or holds no video.
    """

    def __init__(self, source: VideoSource, untrusted: bool = False, on_packet: Callable[[], None] = lambda: None):
        import av

        self.on_packet = on_packet
        self.source, self.damaged, self.packets, self.end = source, 0, 0, 0.0
        options = SELF_CONTAINED if untrusted else {}
        try:
            self.container = av.open(
                str(source), options=dict(options), timeout=TIMEOUT, metadata_errors="ignore", mode="r"
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise unreadable_error(source) from error
        streams = self.container.streams.video
        if not streams or streams[0].codec_context is None:  # no video, or of a kind that cannot be decoded
            self.container.close()
            raise unreadable_error(source)
        self.stream = streams[0]
        self.stream.thread_type = "AUTO" if self.stream.duration or self.container.duration else "SLICE"
        self.info = header_info(self.container, self.stream, from_network=bool(url_scheme(source)))

    def __enter__(self) -> VideoStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def demux(self) -> Generator[av.Packet]:
        """Yield the packets with data. A connection that is lost, or a file that is cut, ends them."""
        import av

        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    self.on_packet()
                    self.packets += 1
                    yield packet
        except (av.error.FFmpegError, OSError):
            return

    def decode(self, packets: Iterable[av.Packet]) -> Generator[av.VideoFrame]:
        """Yield the frames of the packets. A damaged packet is skipped and counted."""
        import av

        consecutive = 0
        for packet in packets:
            self.on_packet()
            try:
                frames = packet.decode()
                consecutive = 0
            except (av.error.FFmpegError, OSError):
                self.damaged, consecutive = self.damaged + 1, consecutive + 1
                if consecutive == MAX_DAMAGED:
                    return
                continue
            yield from frames

    def drain(self) -> list[av.VideoFrame]:
        """Return the frames that the decoder still holds, and make it ready for another keyframe."""
        import av

        try:
            frames = self.stream.codec_context.decode(None)
        except (av.error.FFmpegError, OSError):
            frames = []
        self.stream.codec_context.flush_buffers()
        return frames

    def decode_all(self) -> Generator[av.VideoFrame]:
        """Yield every frame."""
        yield from self.decode(self.demux())
        yield from self.drain()

    def groups(self) -> Generator[tuple[list[av.Packet], bool]]:
        """Yield packets from one keyframe up to the next.

        Yields:
            The packets, and whether they can be skipped: a part of a very long group cannot.
        """
        group: list[av.Packet] = []
        whole = True
        for packet in self.demux():
            if group and (packet.is_keyframe or len(group) >= MAX_GROUP):
                yield group, whole and packet.is_keyframe
                whole, group = packet.is_keyframe, []
            group.append(packet)
        if group:
            yield group, whole


def file_frames(
    source: VideoSource, every: Every, untrusted: bool = False, on_packet: Callable[[], None] = lambda: None
) -> Generator[Frame]:
    """Yield the wanted frames of a file. Groups of pictures without a wanted frame are not decoded.

    Args:
        source: A path or an address.
        every: Which frames are wanted.
        untrusted: Open only containers that hold their own data.
        on_packet: Called for each packet that is read or decoded, also between wanted frames. What it raises ends the
            reading.

    Raises:
        MediaError: If there is no frame; after the last frame, if the file is truncated or damaged.
    """
    with VideoStream(source, untrusted, on_packet) as stream:
        reader = Reader(stream, every)
        yield from reader.frames()
        if not reader.index:
            raise unreadable_error(source)
        raise_if_damaged(stream, reader.last)


class Reader:
    """Numbers and times the frames of a file, and picks the wanted ones.

    Attributes:
        index: Frames so far, whether decoded or skipped.
        last: Time of the last of them, seconds since the first.
    """

    def __init__(self, stream: VideoStream, every: Every):
        self.stream, self.every = stream, every
        self.index, self.last, self.last_due = 0, 0.0, -1.0
        self.start: float | None = None  # seconds, of the first frame
        self.planned, self.planned_due = 0, -1.0  # the same as index and last_due, at the packets read so far

    def frames(self) -> Generator[Frame]:
        """Yield the wanted frames in order."""
        for group, skippable in self.stream.groups():
            times = self.times(group)
            if self.wants(times) or not skippable:
                yield from self.picked(self.stream.decode(group))
            else:
                yield from self.picked(self.stream.drain())
                self.index = self.planned
                self.last = times[-1] if times else self.last
        yield from self.picked(self.stream.drain())

    def times(self, group: list[av.Packet]) -> list[float]:
        """Return the times of the frames that the packets show, in order; an edit list may hide some."""
        shown = (packet for packet in group if not packet.is_discard)
        stamps = [stamp for packet in shown if (stamp := seconds(packet.pts, packet.dts, packet.time_base)) is not None]
        if self.start is None and stamps:
            self.start = min(stamps)
        return sorted(stamp - (self.start or 0.0) for stamp in stamps)

    def wants(self, times: list[float]) -> bool:
        """Tell whether a frame is wanted at one of the times."""
        wanted = False
        for time in times:
            if (due := self.every.due(self.planned, time)) > self.planned_due:
                wanted, self.planned_due = True, due
            self.planned += 1
        return wanted or not times

    def picked(self, frames: Iterable[av.VideoFrame]) -> Generator[Frame]:
        """Yield the wanted ones of the decoded frames. Only these are converted."""
        for frame in frames:
            stamp = seconds(frame.pts, frame.dts, frame.time_base or self.stream.stream.time_base)
            rate = self.stream.info.fps
            if stamp is not None:
                self.last = max(0.0, stamp - (self.start or 0.0))
            elif rate:
                self.last = self.index / rate
            if (due := self.every.due(self.index, self.last)) > self.last_due:
                self.last_due = due
                yield Frame(self.index, self.last, upright_image(frame))
            self.index += 1


def header_info(container: av.container.InputContainer, stream: av.VideoStream, from_network: bool) -> VideoInfo:
    """Return what the header states. A network source of unknown length is live."""
    import av

    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate and 0 < rate < 1000 else 0.0
    if stream.duration and stream.time_base:
        length = float(stream.duration * stream.time_base)
    elif container.duration:  # Matroska's includes the time before the first frame
        length = (container.duration - max(0, container.start_time or 0)) / av.time_base
    else:
        length = stream.frames / fps if fps else 0.0
    known = 0 < length < 1e8
    return VideoInfo(
        live=from_network and not known,
        fps=fps,
        seconds=length if known else 0.0,
        width=stream.width,
        height=stream.height,
    )


def raise_if_damaged(stream: VideoStream, last: float) -> None:
    """Raise MediaError if a file that was read to its end is truncated or damaged. `last`: time of its last frame."""
    info, name = stream.info, public_name(stream.source)
    frame = 1 / info.fps if info.fps else 0.0
    end, announced = last + frame, info.seconds
    missing = announced - end
    if stream.stream.frames:  # an edit list may hide frames: their packets are there all the same
        announced = max(announced, stream.stream.frames * frame)
        missing = (stream.stream.frames - stream.packets) * frame
    if missing > min(2.0, max(0.25, 0.05 * announced)):  # the sound track may be longer than the video
        raise MediaError(
            f"{name}: ends after {end:.1f} s of the {announced:.1f} s it announces, truncated or"
            " damaged; the frames before that are counted"
        )
    if stream.damaged:
        places = "one place" if stream.damaged == 1 else f"{stream.damaged} places"
        raise MediaError(f"{name}: damaged in {places}; the remaining frames are counted")


def seconds(pts: int | None, dts: int | None, time_base: object) -> float | None:
    """Return a timestamp in seconds. Some AVI files have decoding times alone."""
    stamp = dts if pts is None else pts
    return None if stamp is None or time_base is None else float(stamp * time_base)  # type: ignore[operator]


def upright_image(frame: av.VideoFrame) -> np.ndarray:
    """Convert a frame to uint8 (H,W,3) RGB, turned as its rotation says."""
    image = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def unreadable_error(source: VideoSource) -> MediaError:
    name = public_name(source)
    return MediaError(f"{name}: no frame can be read; convert it to MP4 (H.264) or WebM, or check the camera")
