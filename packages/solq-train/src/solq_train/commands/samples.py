"""Images as training sees them: what a recipe's transforms make of them, drawn epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from solq_model import Categories
from solq_train.commands.train import RecipeName
from solq_train.config import TrainConfig
from solq_train.data import CocoInstances, Legend, Split, draw_objects
from solq_train.loading import train_transform
from solq_train.recipes import RECIPES
from solq_train.run_file import read_run_file


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Draw what training makes of the images, instead of the images as they are."""

    recipe: RecipeName | None = None
    """The recipe whose training transforms are drawn; none: the images as they are."""
    config: Path | None = None
    """Run file with values that replace the recipe's."""
    draws: int = 4
    """Pictures of each image: of the first epochs of a run with the recipe's seed."""
    jitter_size: int | None = None
    """Large-scale jitter to squares of this side; none: as the recipe says."""
    copy_paste: float | None = None
    """Probability that objects of another image are pasted; none: as the recipe says."""

    def __post_init__(self) -> None:
        if self.draws < 1:
            msg = f"draws must be at least 1, got {self.draws}"
            raise ValueError(msg)
        for name in ("config", "jitter_size", "copy_paste"):
            if self.recipe is None and getattr(self, name) is not None:
                msg = f"{name} can be given with --recipe only, got {getattr(self, name)}"
                raise ValueError(msg)

    def draw(
        self, split: Split, image_ids: Sequence[int], legend: Legend
    ) -> Iterator[tuple[int, int, Image.Image]]:
        """Id, epoch and picture of each image in each of the epochs."""
        config = self._configuration()
        categories = Categories.contiguous(
            [{"id": category_id, "name": name} for category_id, name in legend.names.items()]
        )
        dataset = CocoInstances(
            split.annotations,
            split.images,
            categories,
            train_transform(config.data),
            config.seed,
            copy_paste=config.data.copy_paste,
            paste_from=config.data.image_ids,
        )
        index_of = {image.id: index for index, image in enumerate(dataset.coco.images)}
        for image_id in image_ids:
            for epoch in range(self.draws):
                dataset.set_epoch(epoch)
                picture, objects = dataset.augmented(index_of[image_id])
                yield image_id, epoch, draw_objects(picture, objects, categories, legend)

    def _configuration(self) -> TrainConfig:
        assert self.recipe is not None
        config = RECIPES[self.recipe]()
        if self.config is not None:
            config = read_run_file(self.config, config)
        data = config.data
        if self.jitter_size is not None:
            data = replace(data, jitter_size=self.jitter_size)
        if self.copy_paste is not None:
            data = replace(data, copy_paste=self.copy_paste)
        return replace(config, data=data)
