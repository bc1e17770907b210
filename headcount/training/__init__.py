"""Training: configuration, targets, losses, augmentation, the training loop, and fine-tuning on your own photos."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.training.config import TrainConfig, TrainError, load_recipe
    from headcount.training.finetune import finetune
    from headcount.training.trainer import train

__all__ = ["TrainConfig", "TrainError", "finetune", "load_recipe", "train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "TrainConfig": "headcount.training.config",
        "TrainError": "headcount.training.config",
        "finetune": "headcount.training.finetune",
        "load_recipe": "headcount.training.config",
        "train": "headcount.training.trainer",
    },
)
