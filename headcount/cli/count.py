"""The command `headcount count`."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Annotated

import cyclopts

from headcount.cli.app import COUNTING, app
from headcount.cli.messages import UsageError
from headcount.cli.options import CountOptions, RayOptions

# A file name may begin with a bracket, and - is standard input.
INPUT = cyclopts.Parameter(json_list=False, allow_leading_hyphen=True)


@app.command(group=COUNTING)
def count(
    *inputs: Annotated[str, INPUT],
    options: CountOptions = CountOptions(),  # noqa: B008  frozen
    ray_options: RayOptions = RayOptions(),  # noqa: B008  frozen
) -> int:
    """Count the people in images, folders, videos and cameras.

    Args:
        inputs: Images, folders (searched recursively), zip archives, web addresses of images, - for an image on
            standard input, videos, stream addresses (rtsp://...) and camera numbers.
    """
    for text in inputs:
        if text.startswith("-") and text != "-" and not os.path.exists(text):
            raise UsageError(f"unknown option: {text}")
    if ray_options.ray:
        from headcount.cli.count_ray import count_on_ray

        return count_on_ray(inputs, options, ray_options)
    defaults = RayOptions()
    for field in fields(defaults):
        if getattr(ray_options, field.name) != getattr(defaults, field.name):
            raise UsageError(f"--{field.name.replace('_', '-')} requires --ray")
    from headcount.cli.count_command import count_inputs

    return count_inputs(inputs, options)
