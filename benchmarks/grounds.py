"""Make photos of grounds without people from the terrain textures of the game 0 A.D.

    apt-get download 0ad-data && dpkg -x 0ad-data_*.deb game
    python benchmarks/grounds.py game/usr/share/games/0ad/mods/public/public.zip DATA/grounds

Each texture tiles without a seam and fills SIDE x SIDE pixels, once at its own size and once at half of it (`_far`), as
grass and gravel look from further away. Read the folder with the format people_free. The textures are by Wildfire Games
and others, CC BY-SA 3.0; headcount contains none of them.
"""

import argparse
import io
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 640  # pixels
MIN_TEXTURE_SIDE = 200  # pixels
MIN_CONTRAST = 6  # standard deviation of the values; below it, nothing is visible
TERRAIN = re.compile(r"art/textures/terrain/types/(.*)\.(dds|png)(\.cached\.dds)?$")
NOT_PHOTOS = re.compile(r"norm|spec|_nm|alpha|lava|neon|light/|red\.|white|black|yellow|blue|grid", re.IGNORECASE)


def tile(texture: Image.Image, scale: float) -> Image.Image:
    """Fill SIDE x SIDE pixels with copies of a texture, resized by `scale`."""
    side = max(64, round(texture.width * scale))
    if scale != 1:
        texture = texture.resize((side, side), Image.Resampling.LANCZOS)
    ground = Image.new("RGB", (SIDE, SIDE))
    for y in range(0, SIDE, side):
        for x in range(0, SIDE, side):
            ground.paste(texture, (x, y))
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
            if not found or NOT_PHOTOS.search(name):
                continue
            texture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            if min(texture.size) < MIN_TEXTURE_SIDE or np.asarray(texture).std() < MIN_CONTRAST:
                continue
            for suffix, scale in (("", 1.0), ("_far", 0.5)):
                path = arguments.out / f"{found[1].replace('/', '_')}{suffix}.jpg"
                tile(texture, scale).save(path, quality=90)
                written += 1
    print(f"{arguments.out}: {written} images")


if __name__ == "__main__":
    main()
