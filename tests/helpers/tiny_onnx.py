"""Models small enough to test with, written as ONNX by hand: a counter of white pixels, and a random network."""

from pathlib import Path

import numpy as np
from onnx import numpy_helper, parser

HEADER = """<ir_version: 9, opset_import: ["" : 18],
  metadata_props: ["name": "{name}", "stride": "4", "pad": "4", "halo": "{halo}", "min_side": "{min_side}",
  "blank": "{blank}"]>
tiny (uint8[n,height,width,3] image) => (float[n,h,w] density, float[n,h,w] mask)
<int64 one = {{1}}, int64[1] channel = {{1}}, int64[1] four = {{4}}, float[1] white = {{255.0}},
 float[1] cell = {{16.0}}, int64[6] zeros = {{0, 0, 0, 0, 0, 0}}>
{{
  pixels = Cast<to = 1>(image)
  scaled = Div(pixels, white)
  planes = Transpose<perm = [0, 3, 1, 2]>(scaled)
  size = Shape<start = 2>(planes)
  minus = Neg(size)
  missing = Mod(minus, four)
  pads = Concat<axis = 0>(zeros, missing)
  padded = Pad(planes, pads)
"""
WHITE = """
  share = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(padded)
  people = Mul(share, cell)
  density = ReduceMean<keepdims = 0>(people, channel)
  mask = Clip(density)
}
"""
NETWORK = """
  a = Conv<pads = [1, 1, 1, 1]>(padded, w1)
  b = Relu(a)
  c = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(b)
  d = Conv<pads = [1, 1, 1, 1]>(c, w2)
  e = Relu(d)
  f = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(e)
  g = Conv<pads = [1, 1, 1, 1]>(f, w3)
  k = Abs(g)
  density = ReduceMean<keepdims = 0>(k, channel)
  mask = Sigmoid(density)
}
"""
NETWORK_HALO = 12  # 1 + 2 + 4 pixels of the convolutions and 3 of the pools, in whole cells


def white_pixels(path: Path, name: str = "white", min_side: int = 0, blank: tuple[int, ...] = ()) -> Path:
    """A model whose count is the number of white pixels: what it must say is known."""
    return write(path, HEADER.format(name=name, halo=4, min_side=min_side, blank=list(blank)) + WHITE, {})


def network(path: Path, seed: int = 0, blank: tuple[int, ...] = ()) -> Path:
    """Random convolutions and poolings, whose cells see 12 pixels around them."""
    random = np.random.default_rng(seed)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (4, 8, 3, 3)}
    weights = {name: random.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    return write(
        path, HEADER.format(name="network", halo=NETWORK_HALO, min_side=0, blank=list(blank)) + NETWORK, weights
    )


def write(path: Path, text: str, weights: dict[str, np.ndarray]) -> Path:
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    path.write_bytes(model.SerializeToString())
    return path


def dots(count: int, height: int = 64, width: int = 96) -> np.ndarray:
    """uint8 (H,W,3): a black image with `count` white pixels, the first at the top left, then every few pixels."""
    image = np.zeros((height, width, 3), np.uint8)
    image.reshape(-1, 3)[np.arange(count) * 37 % (height * width)] = 255
    return image
