"""Count people in photos and video; train, evaluate and export the models that do it.

Example:
    >>> import headcount
    >>> result = headcount.load().count("photo.jpg")
    >>> print(result.count)

Each public name is imported when it is first used. So `import headcount` is fast, and counting never imports torch.
"""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.deployment.onnx_export import export
    from headcount.evaluation.report import evaluate
    from headcount.inference.counter import Counter, load
    from headcount.inference.result import CountResult, to_dataframe
    from headcount.training.finetuning import finetune
    from headcount.training.trainer import train

__version__ = "0.1.0"
__all__ = ["CountResult", "Counter", "evaluate", "export", "finetune", "load", "to_dataframe", "train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CountResult": "headcount.inference.result",
        "Counter": "headcount.inference.counter",
        "evaluate": "headcount.evaluation.report",
        "export": "headcount.deployment.onnx_export",
        "finetune": "headcount.training.finetuning",
        "load": "headcount.inference.counter",
        "to_dataframe": "headcount.inference.result",
        "train": "headcount.training.trainer",
    },
)
