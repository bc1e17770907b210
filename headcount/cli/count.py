"""The command `headcount count`."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import cyclopts

from headcount.cli.app import COUNTING, app
from headcount.cli.messages import UsageError
from headcount.cli.options import CountOptions, RayOptions


@app.command(group=COUNTING)
def count(
    *inputs: Annotated[str, cyclopts.Parameter(json_list=False)],  # a file name may begin with a bracket
    options: CountOptions = CountOptions(),  # noqa: B008  frozen
    ray_options: RayOptions = RayOptions(),  # noqa: B008  frozen
) -> int:
    """Count the people in images, folders, videos and cameras.

    Args:
        inputs: Images, folders (searched recursively), videos, stream addresses (rtsp://...) and camera numbers.
    """
    if ray_options.ray:
        from headcount.cli.count_ray import count_on_ray

        return count_on_ray(inputs, options, ray_options)
    defaults = RayOptions()
    for field in fields(defaults):
        if getattr(ray_options, field.name) != getattr(defaults, field.name):
            raise UsageError(f"--{field.name.replace('_', '-')} requires --ray")
    from headcount.cli.count_command import count_inputs

    return count_inputs(inputs, options)
