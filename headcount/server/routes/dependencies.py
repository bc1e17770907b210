"""What the routes take from the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from headcount.server.service import Service


async def get_service(request: Request) -> Service:
    return request.app.state.service


ServiceDependency = Annotated[Service, Depends(get_service)]
