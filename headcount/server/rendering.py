"""Images for responses: PNG files, and density and mask as transparent layers."""

from __future__ import annotations

import base64

import numpy as np

from headcount.inference.result import CountResult
from headcount.io.images import encode_png
from headcount.server.types import JsonObject

MASK_COLOR = (124, 58, 237)  # violet, RGB


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
