"""Images for responses: PNG files, and density and mask as transparent layers."""

from __future__ import annotations

import base64

import numpy as np

from headcount.inference.result import CountResult
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


def encode_png(image: np.ndarray) -> bytes:
    """A PNG file of a uint8 image, (H,W,3) RGB or (H,W,4) RGBA."""
    import cv2

    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return cv2.imencode(".png", cv2.cvtColor(image, order), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
