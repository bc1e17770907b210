"""Health checks and metrics, for supervisors and Prometheus."""

from __future__ import annotations

import prometheus_client
from fastapi import APIRouter
from fastapi.responses import Response

from headcount.server.errors import ApiError
from headcount.server.routes.dependencies import ServiceDependency

router = APIRouter()


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether this process responds."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(service: ServiceDependency) -> dict[str, str]:
    """Whether the model is open and images are being counted."""
    if not service.ready():
        raise ApiError(503, "not ready", {"Retry-After": "1"})
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
async def metrics(service: ServiceDependency) -> Response:
    """Figures for Prometheus."""
    return Response(
        service.metrics.text(waiting=service.queue.pending), media_type=prometheus_client.CONTENT_TYPE_LATEST
    )
