"""Targets: head points -> density (sums to the count), mask and cell counts, at the model's stride, per crop.

No map is cached: a density is one small matrix product. A Gaussian is separable, so the integral of head n over cell
(i, j) is rows[n, i] * columns[n, j] with exact integrals (error functions) along each axis, and the whole map is
rows^T @ columns. Each head's kernel is cut at `TRUNCATE` sigma and divided by its mass inside the picture, so every
head counts exactly 1, at the border too. The mask is the support of the same cut kernel, made in the same way from the
points, never by thresholding a map.

Everywhere: points (N,2) float, x then y in pixels, inside the picture; maps are float32 (h,w), with
h = ceil(height / stride).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TRUNCATE = 4.0  # sigmas


def cell_edges(size: int, stride: int) -> Tensor:
    """(cells+1,) pixel positions of the cell borders; the last cell may reach past the picture."""
    return torch.arange(-(-size // stride) + 1, dtype=torch.float32) * stride


def axis_shares(position: Tensor, sigma: Tensor, size: int, stride: int) -> Tensor:
    """(N,cells): the share of each head's cut, renormalised Gaussian in each cell along one axis; rows sum to 1."""
    z = (cell_edges(size, stride).clamp(max=size) - position[:, None]) / sigma[:, None]  # (N,cells+1)
    mass = torch.erf(z.clamp(-TRUNCATE, TRUNCATE) / math.sqrt(2)).diff(dim=1)  # (N,cells)
    return mass / mass.sum(dim=1, keepdim=True)


def density_map(points: Tensor, height: int, width: int, stride: int, sigma: float | Tensor) -> Tensor:
    """Density (paper, Eq. 1), people per cell; its sum is len(points) to float precision.

    `sigma`: pixels, one number or one per point (N,).
    """
    sigma = per_point(sigma, points)
    rows = axis_shares(points[:, 1], sigma, height, stride)  # (N,h)
    columns = axis_shares(points[:, 0], sigma, width, stride)  # (N,w)
    return rows.T @ columns  # (h,w)


def mask_map(points: Tensor, height: int, width: int, stride: int, radius: float | Tensor) -> Tensor:
    """Mask M = sign(d): 1 in each cell that a head's kernel, cut at `radius` pixels (TRUNCATE * sigma), reaches."""
    radius = per_point(radius, points)
    rows = axis_reached(points[:, 1], radius, height, stride)  # (N,h) of 0 and 1
    columns = axis_reached(points[:, 0], radius, width, stride)  # (N,w)
    return (rows.T @ columns).clamp_(max=1.0)  # (h,w)


def axis_reached(position: Tensor, radius: Tensor, size: int, stride: int) -> Tensor:
    edges = cell_edges(size, stride)
    low, high = (position - radius)[:, None], (position + radius)[:, None]
    return ((edges[1:] > low) & (edges[:-1] < high)).float()


def count_map(points: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Heads per cell: the density of sigma 0."""
    h, w = -(-height // stride), -(-width // stride)
    cells = (points / stride).long()
    index = cells[:, 1].clamp(0, h - 1) * w + cells[:, 0].clamp(0, w - 1)
    return torch.bincount(index, minlength=h * w).view(h, w).float()


def adaptive_sigma(
    points: Tensor, beta: float = 0.3, neighbours: int = 3, low: float = 1.0, high: float = 15.0
) -> Tensor:
    """Geometry-adaptive sigma (N,), pixels: beta x the mean distance to the nearest neighbours (MCNN), in [low, high].

    A head without neighbours gets `high`.
    """
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return torch.full((len(points),), high)
    nearest = min(neighbours, len(points) - 1)
    distance, _ = cKDTree(points.numpy()).query(points.numpy(), k=nearest + 1)
    mean = torch.from_numpy(distance[:, 1:]).float().mean(dim=1)
    return (beta * mean).clamp(low, high)


def per_point(value: float | Tensor, points: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.full((len(points),), float(value))
