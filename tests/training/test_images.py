"""Images are decoded when they are needed; those that stay decoded fit into the memory that is given to them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import dataset_factory as factory
from helpers.dotted_images import dots_under
from helpers.training_runs import tiny

from headcount.datasets import readers
from headcount.datasets.sample import Sample
from headcount.io.images import MediaError
from headcount.synthetic.scenes import render
from headcount.training import memory
from headcount.training.config import DataConfig, TrainConfig
from headcount.training.dataset import Crops, loader
from headcount.training.images import Images, RenderedScenes, decode_all
from headcount.training.trainer import Trainer

SIZE = 64 * 96 * 3  # bytes of a decoded photo of the factory


def photos(folder: Path, count: int) -> list[Sample]:
    """Photos with one head each."""
    heads = np.float32([[30, 20]])
    return [Sample(factory.photo(folder / f"{i}.jpg", heads), heads) for i in range(count)]


def test_samples_are_opened_as_they_are_annotated(tmp_path):
    truth = factory.shanghaitech(tmp_path)
    samples = readers.read(tmp_path, "shanghaitech", "test")
    images = Images(samples, DataConfig())
    assert [p.image.shape for p in images] == [(64, 96, 3)] * 2  # the grey one too
    for source, sample in zip(images, samples, strict=True):
        np.testing.assert_allclose(source.points, truth["test"][sample.name], rtol=1e-6)
        assert source.name == str(sample.image)
        assert (dots_under(source.image, source.points) < 110).all()  # factory.py draws dark discs


def test_outside_a_roi_are_neither_pixels_nor_people(tmp_path):
    path = factory.photo(tmp_path / "a.png", np.zeros((0, 2)))
    roi = np.float32([(20, 10), (60, 10), (60, 50), (20, 50)])
    heads = np.float32([(30, 30), (10, 30), (95.9, 63.9), (59, 49)])
    (source,) = Images([Sample(path, heads, roi)], DataConfig())
    assert source.points.tolist() == [[30, 30], [59, 49]]
    assert source.image[12:48, 22:58].min() > 0
    source.image[10:51, 20:61] = 0
    assert source.image.max() == 0


@pytest.mark.parametrize("people_free, filled", [(0.5, [True, False, True, False]), (0.0, [True]), (1.0, [False])])
def test_a_share_of_the_rendered_scenes_is_without_people(people_free, filled):
    config = DataConfig(rendered_scenes=len(filled), people_free=people_free)
    images = RenderedScenes(config, seed=3)
    assert [len(p.points) > 0 for p in images] == filled
    again = RenderedScenes(config, seed=3)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(images, again, strict=True))


def test_rendered_scenes_are_kept_as_files_without_loss():
    config = DataConfig(rendered_scenes=2, people_free=0)
    kept = RenderedScenes(config, seed=5)
    scenes = [render(5 * 100_003 + i) for i in range(2)]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(kept, scenes, strict=True))
    assert kept.kept_bytes < 0.6 * sum(scene.image.nbytes for scene in scenes)


# Memory


def test_as_many_images_stay_decoded_as_fit(tmp_path):
    images = Images(photos(tmp_path, 5), DataConfig())
    images.decode(3 * SIZE + SIZE // 2)
    assert images.kept_bytes == 3 * SIZE
    kept = [images[i] is images[i] for i in range(5)]
    assert kept == [True, True, True, False, False]
    assert all(
        np.array_equal(a.image, b.image) for a, b in zip(images, Images(images.samples, DataConfig()), strict=True)
    )


def test_a_region_of_interest_counts_as_memory_too(tmp_path):
    (sample,) = photos(tmp_path, 1)
    images = Images([replace(sample, roi=np.float32([[0, 0], [50, 0], [50, 50]]))], DataConfig())
    images.decode(SIZE)
    assert images.kept_bytes == 0
    images.decode(2 * SIZE)
    assert images.kept_bytes == SIZE + 64 * 96


def test_the_images_that_are_drawn_most_often_stay_decoded(tmp_path):
    for name in ("many", "few"):
        (tmp_path / name).mkdir()
    many, few = Images(photos(tmp_path / "many", 6), DataConfig()), Images(photos(tmp_path / "few", 2), DataConfig())
    decode_all([(0.6, many), (0.4, few)], 5 * SIZE)  # 0.1 of the crops for each of many, 0.2 for each of few
    assert (many.kept_bytes, few.kept_bytes) == (3 * SIZE, 2 * SIZE)


@pytest.mark.parametrize("workers", [0, 2])
def test_crops_do_not_depend_on_what_stays_decoded(tmp_path, workers):
    config = DataConfig(crop=(32, 32), scale=(0.5, 2.0), jitter=0.5, cutmix=0.5)
    samples = photos(tmp_path, 4)
    batches = []
    for kept in (0, 2 * SIZE, 4 * SIZE):
        images = Images(samples, config)
        images.decode(kept)
        batches.append(list(loader(Crops([(1.0, images)], config, 4, seed=1), range(12), 3, workers)))
    for other in batches[1:]:
        for ours, theirs in zip(batches[0], other, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_closed_loader_opens_no_more_images(tmp_path):
    opened: list[int] = []

    class Watched(Images):
        def __getitem__(self, index: int):
            opened.append(index)
            return super().__getitem__(index)

    config = DataConfig(crop=(32, 32))
    batches = loader(Crops([(1.0, Watched(photos(tmp_path, 4), config))], config, 4, seed=1), range(1000), 2, 0)
    next(batches)
    batches.close()
    done = len(opened)
    assert 2 <= done < 50
    assert len(opened) == done


@pytest.mark.usefixtures("one_cpu_thread")
@pytest.mark.parametrize("split", ["train_data", "val"])
def test_a_damaged_image_ends_a_run_before_it_begins(data, tmp_path, split):
    folder = tmp_path / "data"
    config = tiny(image_memory=0.0)
    set_folder = folder / next(iter(config.sets.values())).folder
    factory.shanghaitech(set_folder)
    sample = readers.read(set_folder, "shanghaitech", split.removesuffix("_data"))[0]
    whole = sample.image.read_bytes()
    sample.image.write_bytes(whole[: len(whole) // 2])  # the header still tells its size
    with pytest.raises(MediaError, match=sample.image.name):
        Trainer(config, folder, tmp_path / "run")


def test_a_quarter_of_the_memory_is_for_images_unless_the_recipe_says_how_much(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUP_LIMIT", limit)
    whole = memory.machine_memory()
    assert 2**28 < whole < 2**50
    assert memory.image_memory(TrainConfig(), processes=2) == int(whole * 0.25) // 2
    limit.write_text("max\n")
    assert memory.machine_memory() == whole
    limit.write_text(f"{2**27}\n")  # a container
    assert memory.image_memory(TrainConfig(), processes=1) == 2**25
    assert memory.image_memory(TrainConfig(image_memory=1.5), processes=2) == 3 * 2**28
