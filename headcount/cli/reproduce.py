"""The command `headcount reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from headcount.cli.app import MODELS, app
from headcount.cli.messages import print_message
from headcount.cli.options import Repeatable


@app.command(group=MODELS)
def reproduce(
    target: str,
    /,
    *,
    data: Path,
    budget: Literal["smoke", "short", "long", "full"],
    out: Path,
    backbone_weights: Path | None = None,
    seed: Annotated[tuple[int, ...], cyclopts.Parameter(negative="", show_default="1")] = (1,),
    only: Repeatable[str] = (),
) -> int:
    """Reproduce a table or figure of the paper.

    Each row of a table is shown beside the printed numbers.

    Args:
        target: table1, table2, table3, table4, table5, figure4, figure5, figure6 or all.
        data: Folder that contains shanghaitech, ucf_cc_50 and worldexpo, or some of them.
        budget: smoke only tests that everything runs. short takes hours on two cores. long trains the light rows from
            scratch, in minutes on a GPU. full is the budget of the paper and needs a GPU.
        out: Folder for runs, reports and figures. Finished runs in it are not repeated.
        backbone_weights: A file with the ImageNet weights of VGG16, to use instead of a download.
        seed: Seed of the runs. Repeat the option for several seeds, whose results are pooled.
        only: Train only this recipe of those that the target needs, or report to train nothing. Repeat the option for
            several recipes. All finished runs are reported in any case.
    """
    from headcount.reproduction.experiments import Interrupted
    from headcount.reproduction.pipeline import reproduce as reproduce_target

    try:
        for path in reproduce_target(target, data, budget, out, backbone_weights, seed, only):
            print(path)
    except Interrupted as interrupted:
        print_message(str(interrupted))
        return 130
    return 0
