"""Prediction: images of any kind → Results, one or many, in batches of like sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from solq_model.categories import Categories, Category
from solq_model.images import ImageInput, image_files, open_image
from solq_model.postprocess import postprocess
from solq_model.preprocess import Preprocessing
from solq_model.records import Instances
from solq_model.result import Result
from solq_model.solq import SOLQ

OnError = Callable[[int, ValueError], None]

# Images that wait for others of their size, as a multiple of the batch.
_BATCHES_AHEAD = 4
# Pixels of a batch for each pixel of its images: beyond, padding costs more than a batch saves.
_MOST_PADDING = 1.25


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """How to predict: what counts as an object, and how many images at once."""

    threshold: float = 0.5
    top_k: int = 100
    batch_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            msg = f"threshold must be in 0..1, got {self.threshold}"
            raise ValueError(msg)
        if self.top_k < 1:
            msg = f"top_k must be at least 1, got {self.top_k}"
            raise ValueError(msg)
        if self.batch_size < 1:
            msg = f"batch_size must be at least 1, got {self.batch_size}"
            raise ValueError(msg)


def predict(
    model: SOLQ, images: ImageInput | Iterable[ImageInput], options: PredictOptions
) -> Result | list[Result]:
    """See `SOLQ.predict`."""
    results = list(predict_each(model, images, options))
    if isinstance(images, (Image.Image, np.ndarray, Tensor)):
        return results[0]
    if isinstance(images, (str, Path)) and not Path(images).is_dir():
        return results[0]
    if not results:
        msg = "images must hold at least one image, got none"
        raise ValueError(msg)
    return results


def predict_each(
    model: SOLQ,
    images: ImageInput | Iterable[ImageInput],
    options: PredictOptions,
    on_error: OnError | None = None,
) -> Iterator[Result]:
    """See `SOLQ.predict_each`."""
    return _results(model, _sources(images), options, on_error)


def known_categories(
    instances: Instances, categories: Categories, threshold: float = 0.0
) -> tuple[Instances, tuple[Category, ...]]:
    """The instances of at least a score whose class slot stands for a category, with that category.

    Published COCO weights have 91 slots for 80 categories; the other 11 mean nothing.
    """
    slots = [categories.category_of(slot) for slot in instances.labels.tolist()]
    scores = instances.scores.tolist()
    keep = [i for i, slot in enumerate(slots) if slot is not None and scores[i] >= threshold]
    index = torch.tensor(keep, dtype=torch.int64, device=instances.scores.device)
    return instances.select(index), tuple(c for i in keep if (c := slots[i]) is not None)


def _sources(images: ImageInput | Iterable[ImageInput]) -> Iterable[ImageInput]:
    if isinstance(images, (str, Path)) and Path(images).is_dir():
        return image_files(Path(images))
    if isinstance(images, (str, Path, Image.Image, np.ndarray, Tensor)):
        return [images]
    if isinstance(images, Iterable) and not isinstance(images, bytes):
        return images
    msg = (
        "images must be a path, a PIL image, an array, a tensor or several of these, "
        f"got {type(images).__name__}"
    )
    raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """An image ready for the network."""

    picture: Image.Image
    pixels: Float[Tensor, "3 height width"]
    path: Path | None


def _results(
    model: SOLQ, sources: Iterable[ImageInput], options: PredictOptions, on_error: OnError | None
) -> Iterator[Result]:
    # Nothing is opened before it is needed: the images may come from a camera.
    opened = (
        (index, _open(model.preprocessing, source, index)) for index, source in enumerate(sources)
    )
    window_size = 1 if options.batch_size == 1 else options.batch_size * _BATCHES_AHEAD
    while window := list(islice(opened, window_size)):
        good = {index: image for index, image in window if isinstance(image, _Opened)}
        found: dict[int, Result | ValueError] = {}
        for batch in _batches(good, options.batch_size):
            found |= _predict_batch(model, {index: good[index] for index in batch}, options)
        for index, image in window:
            result = found.pop(index) if isinstance(image, _Opened) else image
            if isinstance(result, Result):
                yield result
            elif on_error is None:
                raise result
            else:
                on_error(index, result)


def _open(preprocessing: Preprocessing, source: ImageInput, index: int) -> _Opened | ValueError:
    path = Path(source) if isinstance(source, (str, Path)) else None
    try:
        picture = open_image(source)
    except ValueError as error:
        # A file's error names the file.
        return error if path is not None else ValueError(f"images[{index}]: {error}")
    return _Opened(picture=picture, pixels=preprocessing(picture), path=path)


def _batches(images: dict[int, _Opened], batch_size: int) -> Iterator[list[int]]:
    """The images' indices in batches of like sizes, so that little of a batch is padding."""
    batch: list[int] = []
    for index in sorted(images, key=lambda i: tuple(images[i].pixels.shape)):
        grown = [*batch, index]
        if batch and (len(grown) > batch_size or _padding(grown, images) > _MOST_PADDING):
            yield batch
            grown = [index]
        batch = grown
    if batch:
        yield batch


def _padding(batch: list[int], images: dict[int, _Opened]) -> float:
    """Pixels of the padded batch for each pixel of its images."""
    sizes = [images[index].pixels.shape[1:] for index in batch]
    padded = len(sizes) * max(height for height, _ in sizes) * max(width for _, width in sizes)
    return padded / sum(height * width for height, width in sizes)


def _predict_batch(
    model: SOLQ, batch: dict[int, _Opened], options: PredictOptions
) -> dict[int, Result | ValueError]:
    """The result of each image, or why the network takes none of its size."""
    try:
        found = _instances(model, list(batch.values()), options.top_k)
    except ValueError as error:
        if len(batch) > 1:  # the others have a result of their own
            alone = (_predict_batch(model, {i: image}, options) for i, image in batch.items())
            return {index: result for one in alone for index, result in one.items()}
        ((index, image),) = batch.items()
        name = f"images[{index}]" if image.path is None else f"image {image.path}"
        return {index: ValueError(f"{name}: {error}")}
    results: dict[int, Result | ValueError] = {}
    for (index, image), instances in zip(batch.items(), found, strict=True):
        kept, categories = known_categories(instances, model.categories, options.threshold)
        results[index] = Result(
            image=image.picture, instances=kept, categories=categories, path=image.path
        )
    return results


def _instances(model: SOLQ, batch: Sequence[_Opened], top_k: int) -> list[Instances]:
    parameter = next(model.parameters())
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            pixels = [image.pixels.to(parameter) for image in batch]
            predictions = model(pixels, batch_invariant=True)
            sizes = [(image.picture.height, image.picture.width) for image in batch]
            return postprocess(predictions, sizes, model.codec, top_k)
    finally:
        model.train(was_training)
