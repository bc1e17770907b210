"""Reading and writing files: images, video, and files that are written whole or not at all.

Nothing here knows about people. Every problem with an image or video is a `MediaError` with a one-line message.
"""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.io.images import MediaError, image_size, list_images, read_image, write_image
    from headcount.io.video import Frame, VideoInfo, probe, read_frames
    from headcount.io.video_writer import VideoWriter, write_video

__all__ = [
    "Frame",
    "MediaError",
    "VideoInfo",
    "VideoWriter",
    "image_size",
    "list_images",
    "probe",
    "read_frames",
    "read_image",
    "write_image",
    "write_video",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Frame": "headcount.io.video",
        "MediaError": "headcount.io.images",
        "VideoInfo": "headcount.io.video",
        "VideoWriter": "headcount.io.video_writer",
        "image_size": "headcount.io.images",
        "list_images": "headcount.io.images",
        "probe": "headcount.io.video",
        "read_frames": "headcount.io.video",
        "read_image": "headcount.io.images",
        "write_image": "headcount.io.images",
        "write_video": "headcount.io.video_writer",
    },
)
