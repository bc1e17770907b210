"""GeoJSON of heads, for geographic programs and web maps. It is only written.

A FeatureCollection with a Point for each head and the image in its properties. Coordinates are pixels, y down, since an
image does not say where on the earth it was taken. An image without heads has no feature.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from headcount.datasets.sample import Sample
from headcount.datasets.tables import exact_points, refuse_rois, with_splits, written_path
from headcount.io.files import atomic_write


def write_geojson(samples: Sequence[Sample], path: Path, splits: Sequence[str] = ()) -> None:
    """Write a GeoJSON file; the properties have a `split` if `splits` has one for each sample.

    Raises:
        PointsError: a sample has a region of interest.
    """
    refuse_rois(samples, path, "geojson")
    images = with_splits([{"image": written_path(sample.image, path)} for sample in samples], splits)
    features = [
        {"type": "Feature", "properties": image, "geometry": {"type": "Point", "coordinates": point}}
        for image, sample in zip(images, samples, strict=True)
        for point in exact_points(sample.points)
    ]
    with atomic_write(path) as stream:
        stream.write(json.dumps({"type": "FeatureCollection", "features": features}))
