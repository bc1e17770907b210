"""Targets of a crop, made from its head points at the model's stride: density, mask and heads per cell.

No map is cached, since a density is one small matrix product. A Gaussian is separable: the integral of head n over
cell (i, j) is rows[n, i] * columns[n, j], with exact integrals (error functions) along each axis. The whole map is
rows^T @ columns. Each head's kernel is cut at TRUNCATE sigma and divided by its mass inside the image, so every head
counts exactly 1, at the border too. The mask is the support of the same cut kernel. It is made from the points as well
and never by thresholding a map.

Points are (N,2) float tensors, x then y in pixels, inside the image. Maps are float32 (h,w), h = ceil(height / stride).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TRUNCATE = 4.0  # sigmas
# The geometry-adaptive kernel of MCNN (Zhang et al., CVPR 2016)
BETA = 0.3  # sigma is this share of the mean distance to the nearest heads
NEIGHBORS = 3
SMALLEST_SIGMA, LARGEST_SIGMA = 1.0, 15.0  # pixels


def density_map(points: Tensor, height: int, width: int, stride: int, sigma: float | Tensor) -> Tensor:
    """Make the density (Eq. 1), people per cell. Its sum is len(points) to float precision.

    Args:
        points: (N,2) heads.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        stride: Pixels per cell.
        sigma: Standard deviation of the Gaussians in pixels: one number, or one for each head (N,).

    Returns:
        float32 (h,w).
    """
    sigma = _per_point(sigma, points)
    rows = _axis_shares(points[:, 1], sigma, height, stride)  # (N,h)
    columns = _axis_shares(points[:, 0], sigma, width, stride)  # (N,w)
    return rows.T @ columns  # (h,w)


def mask_map(points: Tensor, height: int, width: int, stride: int, radius: float | Tensor) -> Tensor:
    """Make the mask M = sign(d): 1 in each cell that the kernel of a head reaches, else 0.

    Args:
        points: (N,2) heads.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        stride: Pixels per cell.
        radius: Where the kernels are cut, in pixels: one number, or one for each head (N,). The density's kernels are
            cut at TRUNCATE * sigma.

    Returns:
        float32 (h,w).
    """
    radius = _per_point(radius, points)
    rows = _axis_reached(points[:, 1], radius, height, stride)  # (N,h) of 0 and 1
    columns = _axis_reached(points[:, 0], radius, width, stride)  # (N,w)
    return (rows.T @ columns).clamp_(max=1.0)  # (h,w)


def count_map(points: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Count the heads in each cell: the density of sigma 0.

    Args:
        points: (N,2) heads.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        stride: Pixels per cell.

    Returns:
        float32 (h,w).
    """
    h, w = -(-height // stride), -(-width // stride)
    cells = (points / stride).long()
    index = cells[:, 1].clamp(0, h - 1) * w + cells[:, 0].clamp(0, w - 1)
    return torch.bincount(index, minlength=h * w).view(h, w).float()


def adaptive_sigma(points: Tensor) -> Tensor:
    """Compute the geometry-adaptive sigma: BETA x the mean distance to the NEIGHBORS nearest heads (MCNN).

    Args:
        points: (N,2) heads.

    Returns:
        (N,) pixels, between SMALLEST_SIGMA and LARGEST_SIGMA. A head without neighbors gets the largest.
    """
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return torch.full((len(points),), LARGEST_SIGMA)
    nearest = min(NEIGHBORS, len(points) - 1)
    distance, _ = cKDTree(points.numpy()).query(points.numpy(), k=nearest + 1)
    mean = torch.from_numpy(distance[:, 1:]).float().mean(dim=1)
    return (BETA * mean).clamp(SMALLEST_SIGMA, LARGEST_SIGMA)


def cell_edges(size: int, stride: int) -> Tensor:
    """(cells+1,) pixel positions of the cell borders. The last cell may reach past the image."""
    return torch.arange(-(-size // stride) + 1, dtype=torch.float32) * stride


def _axis_shares(position: Tensor, sigma: Tensor, size: int, stride: int) -> Tensor:
    """(N,cells): the share of each head's cut, renormalized Gaussian in each cell along one axis; rows sum to 1."""
    z = (cell_edges(size, stride).clamp(max=size) - position[:, None]) / sigma[:, None]  # (N,cells+1)
    mass = torch.erf(z.clamp(-TRUNCATE, TRUNCATE) / math.sqrt(2)).diff(dim=1)  # (N,cells)
    return mass / mass.sum(dim=1, keepdim=True)


def _axis_reached(position: Tensor, radius: Tensor, size: int, stride: int) -> Tensor:
    """(N,cells): 1 where a cell is less than `radius` away along one axis."""
    edges = cell_edges(size, stride)
    low, high = (position - radius)[:, None], (position + radius)[:, None]
    return ((edges[1:] > low) & (edges[:-1] < high)).float()


def _per_point(value: float | Tensor, points: Tensor) -> Tensor:
    """(N,): the value of each point."""
    if isinstance(value, Tensor):
        return value
    return torch.full((len(points),), float(value))
