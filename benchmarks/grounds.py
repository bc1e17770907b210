"""Photographs of grounds to learn zero from: the terrain textures of the game 0 A.D., as plain JPEGs.

    apt-get download 0ad-data && dpkg -x 0ad-data_*.deb game
    python benchmarks/grounds.py game/usr/share/games/0ad/mods/public/public.zip DATA/grounds

Each texture tiles without a seam and fills SIDE x SIDE pixels, once as it is and once at half its size (`_far`), as
grass and gravel look from further away. Read them with the format people_free. The textures are by Wildfire Games and
others, CC BY-SA 3.0: nothing of them is in headcount.
"""

import argparse
import io
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 640
TERRAIN = re.compile(r"art/textures/terrain/types/(.*)\.(dds|png)(\.cached\.dds)?$")
DRAWN = re.compile(r"norm|spec|_nm|alpha|lava|neon|light/|red\.|white|black|yellow|blue|grid", re.IGNORECASE)
PLAIN = 6  # standard deviation of the values below which there is nothing to see


def tiled(texture: Image.Image, scale: float) -> Image.Image:
    side = max(64, round(texture.width * scale))
    tile = texture.resize((side, side), Image.Resampling.LANCZOS) if scale != 1 else texture
    ground = Image.new("RGB", (SIDE, SIDE))
    for y in range(0, SIDE, side):
        for x in range(0, SIDE, side):
            ground.paste(tile, (x, y))
    return ground


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="public.zip of the game")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = 0
    with zipfile.ZipFile(arguments.archive) as archive:
        for name in sorted(archive.namelist()):
            found = TERRAIN.match(name)
            if not found or DRAWN.search(name):
                continue
            texture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            if min(texture.size) < 200 or np.asarray(texture).std() < PLAIN:
                continue
            for suffix, scale in (("", 1.0), ("_far", 0.5)):
                place = arguments.out / f"{found[1].replace('/', '_')}{suffix}.jpg"
                tiled(texture, scale).save(place, quality=90)
                written += 1
    print(f"{arguments.out}: {written} pictures")


if __name__ == "__main__":
    main()
