"""Images for responses: overlays, and density and mask as transparent layers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headcount.inference.result import CountResult
from headcount.io.images import encode_png
from headcount.regions.region import Region
from headcount.server.types import JsonObject

MASK_COLOR = (124, 58, 237)  # violet, RGB


def overlay_png(result: CountResult, pixels: np.ndarray, regions: Sequence[Region]) -> bytes:
    """A PNG of the photo under its density.

    Args:
        result: the count of the photo.
        pixels: the photo, uint8 (H,W,3), which may be shrunk.
        regions: the regions that it was counted in.
    """
    height, width = pixels.shape[:2]
    if width < result.width:
        scale = width / result.width
        result = replace(result, stride=result.stride * scale, width=width, height=height)
        regions = [shrunk(region, scale) for region in regions]
    return encode_png(result.overlay(pixels, regions))


def shrunk(region: Region, scale: float) -> Region:
    """The region in a photo that was resized by `scale`, to draw it there."""
    from shapely.affinity import scale as scale_polygon

    if region.fractions:
        return region
    return replace(region, polygon=scale_polygon(region.polygon, scale, scale, origin=(0, 0)), ground=None)


def density_layers(result: CountResult) -> JsonObject:
    """Density and mask as transparent images of the photo's size, and the peak of the density's legend."""
    from headcount.visualization.heatmap import mask_layer, overlay_layers

    tint, alpha, peak = overlay_layers(result.density, result.height, result.width, result.stride)
    mask = mask_layer(result.mask, result.height, result.width, result.stride)
    color = np.broadcast_to(np.array(MASK_COLOR, np.uint8), (*mask.shape, 3))
    return {
        "density": data_url(np.dstack([tint, (alpha * 255).astype(np.uint8)])),
        "mask": data_url(np.dstack([color, (mask * 200).astype(np.uint8)])),
        "peak": round(peak, 3),
    }


def data_url(rgba: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(rgba)).decode()
