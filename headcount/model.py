"""CountingModel: normalise -> backbone -> fusion -> density, in one module that owns its pre- and post-processing.

`model(image).density.sum()` is people: there is no gain outside (`density_scale` is applied inside), and pictures of
any size may be given, since padding and cropping happen here too. `image` is RGB in 0..255; the model makes it grey
itself.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import BACKBONES
from .fusion import FUSIONS, Fused
from .media import flush
from .peers import PEERS, load_published_mcnn

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV's and Pillow's grey


@dataclass
class ModelConfig:
    """All that a network is made from.

    backbone: multiscale, vgg16, lite0, lite2 or, as a whole network, mcnn and csrnet.
    fusion: a key of fusion.FUSIONS; not used by mcnn and csrnet.
    width: channels inside the heads (256 in the paper).
    dilation: of the heads' 3x3 convolutions (the paper's light network 1; on VGG16 2, as CSRNet).
    density_scale: the network's raw output is divided by this to give people per cell.
    min_side: the test-time rule; a picture whose short side is shorter is enlarged to it (0: never).
    shrink: pictures are shrunk to the multiples of pad below (the published MCNN's rule), not padded to those above.
    init: "kaiming", or "normal", the paper's N(0, 0.01); pre-trained layers are loaded after it.
    mean, std: normalisation of 0..255 pixels; None takes the backbone's own.
    """

    name: str = "headcount"
    backbone: str = "multiscale"
    fusion: str = "feature_posterior"
    width: int = 256
    dilation: int = 1
    density_scale: float = 1.0
    min_side: int = 0
    shrink: bool = False
    init: str = "kaiming"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass
class EnsembleConfig:
    """Several networks that count as one. weights: the share of each, adding up to 1; nothing for equal shares.
    min_side and shrink are theirs, which must agree."""

    members: tuple[ModelConfig, ...]
    weights: tuple[float, ...] = ()
    name: str = "headcount"
    min_side: int = 0
    shrink: bool = False


class Output(NamedTuple):
    """Maps of (N,h,w), h = ceil(H / stride): density in people per cell; the rest None where a network lacks it."""

    density: Tensor
    mask_logits: Tensor | None = None
    first_density: Tensor | None = None
    rate: Tensor | None = None


class CountingModel(nn.Module):
    """A backbone and a fusion head (or a peer network), with what every caller must know of it.

    stride: pixels per density cell. pad: sizes and tile starts are multiples of it. halo: pixels of context, a
    multiple of pad, that make a tile's interior exact.

    Raises:
        ValueError: for an unknown backbone, fusion or init.
    """

    stride: int
    pad: int
    halo: int
    mean: Tensor
    std: Tensor
    luma: Tensor
    backbone: Any  # one of BACKBONES or PEERS, with the attributes that backbones.py lists
    head: Any  # one of FUSIONS; None beside a whole network

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        if config.backbone in PEERS:
            self.backbone, self.head = PEERS[config.backbone](), None
            reach = self.backbone.reach
        elif config.backbone in BACKBONES and config.fusion in FUSIONS:
            self.backbone = BACKBONES[config.backbone]()
            self.head = FUSIONS[config.fusion](self.backbone.channels, config.width, config.dilation)
            reach = self.backbone.reach + self.head.reach * config.dilation * self.backbone.stride
        else:
            raise ValueError(
                f"unknown network {config.backbone!r} + {config.fusion!r}: backbones are"
                f" {', '.join([*BACKBONES, *PEERS])}; fusions are {', '.join(FUSIONS)}"
            )
        self.stride, self.pad = self.backbone.stride, self.backbone.pad
        self.halo = math.ceil(reach / self.pad) * self.pad
        self.grey = self.backbone.grey
        mean, std = config.mean or self.backbone.mean, config.std or self.backbone.std
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)
        initialise(self, config.init)

    def normalise(self, image: Tensor) -> Tensor:
        """RGB 0..255 (N,3,H,W) -> (N,C,H,W), C = 1 for grey networks; the luma is rounded as an 8-bit picture's."""
        x = image.float()
        if self.grey:
            x = (x * self.luma).sum(dim=1, keepdim=True).round()
        return (x - self.mean) / self.std

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """Count. `image`: RGB (N,3,H,W) in 0..255, uint8 or float. `mask`: ground truth (N,h,w), which product_gt and
        feature_gt need in training."""
        height, width = image.shape[-2:]
        x = self.normalise(image)
        if self.config.shrink:
            x = shrink(x, self.pad)
        x = F.pad(x, (0, -x.shape[-1] % self.pad, 0, -x.shape[-2] % self.pad))
        if self.head is None:
            fused = Fused(self.backbone(x).unsqueeze(1))
        else:
            features = self.backbone(x)  # (N,C,H/stride,W/stride)
            fused = self.head(features, None if mask is None else fit_mask(mask, features))
        # ceil written so: ONNX's integer division truncates, and -(-a // b) would lose a row
        h, w = (height + self.stride - 1) // self.stride, (width + self.stride - 1) // self.stride
        density, *others = [None if m is None else m[:, 0, :h, :w].float() for m in fused]
        assert density is not None  # every network gives one
        if self.config.shrink:  # the cells that shrinking took away hold nobody
            density = F.pad(density, (0, w - density.shape[-1], 0, h - density.shape[-2]))
        return Output(density / self.config.density_scale, *others)


class Ensemble(nn.Module):
    """Networks of one stride as one model: mask logits are averaged, and so are densities.

    Of zero-inflated networks the rates are averaged instead, and the density is the averaged mask's posterior x rate:
    one that is sure that nobody is there then outweighs one that is not. It counts as a CountingModel does and is not
    trained: its members are, each by itself.

    Raises:
        ValueError: no member, members that differ in stride, min_side or shrink or weights that are not a positive
            share for each, 1 in all.
    """

    def __init__(self, config: EnsembleConfig):
        super().__init__()
        self.config = config
        members = [CountingModel(member) for member in config.members]
        self.members = nn.ModuleList(members)
        rules = {(m.stride, m.config.min_side, m.config.shrink) for m in members}
        if len(rules) != 1 or next(iter(rules))[1:] != (config.min_side, config.shrink):
            raise ValueError("an ensemble takes networks of one stride, min_side and shrink")
        self.weights = config.weights or (1 / len(members),) * len(members)
        if len(self.weights) != len(members) or min(self.weights) <= 0 or abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"weights of {len(members)} networks are {self.weights}: give each its share of 1")
        self.stride, self.grey = members[0].stride, members[0].grey
        self.pad = math.lcm(*(m.pad for m in members))
        self.halo = math.ceil(max(m.halo for m in members) / self.pad) * self.pad

    @property
    def mean(self) -> Any:
        return self.members[0].mean

    @property
    def luma(self) -> Any:
        return self.members[0].luma

    def forward(self, image: Tensor) -> Output:
        outputs = [member(image) for member in self.members]
        density, logits, _, rate = (self.mean_of(list(maps)) for maps in zip(*outputs, strict=True))  # (N,h,w) each
        return Output(density if rate is None else logits.sigmoid() * rate, logits, rate=rate)

    def mean_of(self, maps: list[Tensor | None]) -> Any:
        """The weighted mean of each member's map (N,h,w); None where one has none."""
        if any(one is None for one in maps):
            return None
        return sum(weight * one for weight, one in zip(self.weights, maps, strict=True) if one is not None)


def shrink(x: Tensor, multiple: int) -> Tensor:
    """(N,C,H,W) resized to the multiples of `multiple` below (one of it at least), bilinear, in whole grey values."""
    height, width = (max(size // multiple, 1) * multiple for size in x.shape[-2:])
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False).round()


def fit_mask(mask: Tensor, features: Tensor) -> Tensor:
    """(N,h,w) -> (N,1,h',w'), with background in the cells that padding added."""
    extra_rows, extra_columns = features.shape[-2] - mask.shape[-2], features.shape[-1] - mask.shape[-1]
    return F.pad(mask, (0, extra_columns, 0, extra_rows)).unsqueeze(1)


def initialise(model: nn.Module, init: str) -> None:
    """Kaiming for the ReLUs with a small last layer, or the paper's N(0, 0.01)."""
    if init not in ("kaiming", "normal"):
        raise ValueError(f"unknown init {init!r}: use kaiming or normal")
    for module in model.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if init == "normal" or module.out_channels == 1:
            nn.init.normal_(module.weight, std=0.01)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def multiply_adds(model: CountingModel, height: int, width: int) -> int:
    """Multiply-adds of the convolutions for one picture of height x width; nothing is computed, only shapes."""
    total = 0

    def add(layer: nn.Conv2d, _: object, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()  # each output is a product with one filter

    with torch.device("meta"):
        shapes = CountingModel(model.config).eval()
        for layer in shapes.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(add)
        shapes(torch.empty(1, 3, height, width))
    return total


def config_from_dict(values: dict) -> ModelConfig:
    """A ModelConfig from parsed JSON or TOML; unknown keys are a ValueError that names them."""
    if not isinstance(values, dict):
        raise ValueError(f"model settings are {values!r}, not a table")
    unknown = set(values) - {f.name for f in fields(ModelConfig)}
    if unknown:
        raise ValueError(f"unknown model settings: {', '.join(sorted(unknown))}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return ModelConfig(**values)


def build(values: dict) -> CountingModel | Ensemble:
    """The network that settings (a ModelConfig's or an EnsembleConfig's, parsed from JSON) describe, untrained.
    Raises ValueError."""
    if not isinstance(values, dict) or "members" not in values:
        return CountingModel(config_from_dict(values))
    members = values["members"]
    if not isinstance(members, list) or set(values) - {f.name for f in fields(EnsembleConfig)}:
        raise ValueError("an ensemble's settings are members, a list, and weights, name, min_side and shrink")
    members, weights = tuple(config_from_dict(member) for member in members), tuple(values.get("weights") or ())
    return Ensemble(EnsembleConfig(**{**values, "members": members, "weights": weights}))


def save(model: CountingModel | Ensemble, folder: str | Path, weights: dict[str, Tensor] | None = None) -> None:
    """Write config.json and model.safetensors into `folder`: both drafts are on the disk before either takes its name,
    and weights never stand beside the settings of another network."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in (weights or model.state_dict()).items()}
    config, text = folder / "config.json", json.dumps(asdict(model.config), indent=2) + "\n"
    save_file(state, folder / "model.safetensors.new", metadata={"format": "pt"})
    (folder / "config.json.new").write_text(text)
    for name in ("model.safetensors", "config.json"):
        flush(folder / f"{name}.new")
    (folder / "calibration.json").unlink(missing_ok=True)  # it is of the weights before
    if config.exists() and config.read_bytes() != text.encode():
        config.unlink()
    for name in ("model.safetensors", "config.json"):
        (folder / f"{name}.new").replace(folder / name)


def load(path: str | Path) -> CountingModel | Ensemble:
    """A network in eval mode, from a checkpoint folder or a published MCNN .h5 file.

    Raises:
        ValueError: naming the file, when it is missing or does not hold such a model.
    """
    path = Path(path)
    if path.suffix == ".h5":
        model = CountingModel(ModelConfig(name=path.stem, backbone="mcnn", fusion="plain", shrink=True))
        model.backbone = load_published_mcnn(path)
        return model.eval()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network = build(json.loads((path / "config.json").read_text()))
        network.load_state_dict(load_file(path / "model.safetensors"))
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]  # torch lists every tensor that does not fit
        raise ValueError(
            f"{path}: not a headcount checkpoint (a folder with config.json and model.safetensors): {reason}"
        ) from error
    return network.eval()


def load_single(path: str | Path) -> CountingModel:
    """As `load`, of what is trained or looked into: one network. Raises ValueError for an ensemble too."""
    network = load(path)
    if isinstance(network, Ensemble):
        raise ValueError(f"{path}: is several networks, which are not trained together; take one of them")
    return network
