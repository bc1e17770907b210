"""Training counting networks: recipes, targets, losses, augmentation, the training loop, and fine-tuning.

To add a loss term, edit losses.py only: give LossConfig a field for its weight, write a function of (output, targets,
config), and enter it in TERMS under the name of the field. Recipes and `--set loss.NAME=...` then accept it, and
metrics.csv shows it. Test it in tests/training/test_losses.py.

To add an augmentation, edit augmentation.py only: give AugmentationConfig a field for its probability, write a function
that takes and returns a Crop, and call it in `augment_view` (each view of an image) or `augment_crop` (the finished
crop). Draw random numbers only when its probability is above 0, so that the crops of existing recipes stay the same.
Test it in tests/training/test_augmentation.py.
"""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.training.config import TrainConfig, TrainError, load_recipe
    from headcount.training.finetuning import finetune
    from headcount.training.trainer import train

__all__ = ["TrainConfig", "TrainError", "finetune", "load_recipe", "train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "TrainConfig": "headcount.training.config",
        "TrainError": "headcount.training.config",
        "finetune": "headcount.training.finetuning",
        "load_recipe": "headcount.training.config",
        "train": "headcount.training.trainer",
    },
)
