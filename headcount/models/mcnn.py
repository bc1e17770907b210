"""MCNN (Zhang et al., CVPR 2016), a published network to compare with, and its published weights."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from headcount._extras import EXTRAS, install_hint
from headcount.io.files import single_line
from headcount.models.backbones.base import ImageNetwork


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU(inplace=True)))


def _column(width: int, first: int, rest: int) -> nn.Sequential:
    """One column: a `first` x `first` convolution, then three of `rest` x `rest`; stride 4."""
    return nn.Sequential(
        _conv(1, width, first), nn.MaxPool2d(2),
        _conv(width, 2 * width, rest), nn.MaxPool2d(2),
        _conv(2 * width, width, rest), _conv(width, width // 2, rest),
    )  # fmt: skip


class MCNN(ImageNetwork):
    """MCNN with 0.13 M parameters. The input is grey, 0..255, without normalization.

    Zhang et al., *Single-image crowd counting via multi-column convolutional neural network*, CVPR 2016. Three columns
    with large, medium and small receptive fields are fused by a 1x1 convolution. A ReLU follows it, as in the
    published code. Parameters have the names of that code, so its checkpoints load as they are.
    """

    stride, pad, reach, grey = 4, 4, 36, True
    mean, std = (0.0,), (1.0,)

    def __init__(self) -> None:
        super().__init__()
        self.branch1 = _column(16, first=9, rest=7)
        self.branch2 = _column(20, first=7, rest=5)
        self.branch3 = _column(24, first=5, rest=3)
        self.fuse = nn.Sequential(_conv(8 + 10 + 12, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        columns = torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)], dim=1)  # (N,30,H/4,W/4)
        return self.fuse(columns).squeeze(1)  # (N,H/4,W/4)


def load_published_mcnn(path: str | Path) -> MCNN:
    """The published MCNN weights (mcnn_shtechA_660.h5, mcnn_shtechB_110.h5) as a network in eval mode.

    The file is flat HDF5: one float32 array per parameter, its name prefixed with `DME.`.

    Raises:
        ValueError: the file is missing or holds anything else, or h5py is not installed. The message is one line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the published MCNN .h5")
    net = MCNN()
    wanted = net.state_dict()
    found = {name.removeprefix("DME."): tensor for name, tensor in _read_h5(path).items()}
    for name in [*wanted, *found]:
        if name not in wanted or name not in found:
            what = "unknown" if name in found else "no"
            raise ValueError(f"{path}: {what} array 'DME.{name}'; this is not the published MCNN")
        if found[name].shape != wanted[name].shape:
            shapes = f"{tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
            raise ValueError(f"{path}: 'DME.{name}' is {shapes}; this is not the published MCNN")
    net.load_state_dict(found)
    return net.eval()


def _read_h5(path: Path) -> dict[str, Tensor]:
    """Every array at the top level of an HDF5 file."""
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{path}: reading it needs h5py; {install_hint(EXTRAS['h5py'])}") from None
    try:
        with h5py.File(path, "r") as file:
            arrays = [(name, item) for name, item in file.items() if isinstance(item, h5py.Dataset)]
            return {name: torch.from_numpy(item[()]) for name, item in arrays}
    except (OSError, TypeError) as error:  # not HDF5, or arrays that are not numbers
        message = f"{path}: cannot be read as HDF5; give the published MCNN .h5 ({single_line(error)})"
        raise ValueError(message) from None
