"""A model on the images of a split: the numbers, and detections in the data set's own ids."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal

import pytest
from PIL import Image
from rich.console import Console

from solq_model import SOLQ
from solq_train.data import DataError, find_split, read_coco
from solq_train.evaluation import EvaluationImages, evaluate, image_ids_of
from solq_train.metrics import evaluate_detections


@pytest.fixture(scope="module")
def split(shapes):
    return find_split(shapes, "val")


@pytest.fixture(scope="module")
def model(trained) -> SOLQ:
    return SOLQ.load(trained / "best")


@pytest.fixture(scope="module")
def evaluation(model, split):
    return evaluate(model, split, Console(file=io.StringIO()), top_k=15)


def test_detections_carry_category_ids_and_image_ids_of_the_data_set(evaluation, split):
    # 5 queries x 3 classes in 4 images: with 15 detections an image every class appears.
    assert {d["category_id"] for d in evaluation.detections} == {1, 7, 23}
    ids = {image.id for image in read_coco(split.annotations).images}
    assert {d["image_id"] for d in evaluation.detections} == ids
    assert len(evaluation.detections) == 4 * 15


def test_detections_are_in_the_pixels_of_the_image_files(evaluation):
    for detection in evaluation.detections:
        assert detection["segmentation"]["size"] == [64, 64]
        assert isinstance(detection["segmentation"]["counts"], str)
        assert 0 < detection["score"] < 1


def test_the_numbers_are_those_of_the_detections(evaluation, split):
    again = evaluate_detections(split.annotations, evaluation.detections, ("bbox", "segm"))
    assert evaluation.metrics.bbox == again["bbox"]
    assert evaluation.metrics.segm == again["segm"]


def test_an_image_gives_the_same_alone_and_in_a_padded_batch(model, console, copied_set):
    # The image without objects, cut to 64 x 40, is enlarged to 96 x 60: all are padded.
    path = copied_set.images / "000002.png"
    with Image.open(path) as picture:
        cut = picture.crop((0, 0, 64, 40))
    cut.save(path)
    copied_set.edit(lambda document: document["images"][1].update(height=40))
    split = find_split(copied_set.folder, "train")
    alone = evaluate(model, split, console, top_k=15).detections
    padded = evaluate(model, split, console, top_k=15, batch_size=3).detections
    for one, other in zip(alone, padded, strict=True):
        assert other["image_id"] == one["image_id"]
        assert other["category_id"] == one["category_id"]
        assert other["score"] == pytest.approx(one["score"], abs=1e-5)
        assert other["bbox"] == pytest.approx(one["bbox"], abs=1e-3)


def test_only_the_asked_images_are_evaluated(model, split, console):
    ids = image_ids_of(split.annotations, 2)
    found = evaluate(model, split, console, top_k=5, image_ids=ids)
    assert {d["image_id"] for d in found.detections} == ids == {1, 2}


def test_a_worker_that_loads_images_changes_nothing_and_outlives_a_request_to_stop(
    model, split, console, evaluation
):
    others = set(multiprocessing.active_children())

    def ask_to_stop(*_: object) -> None:
        (worker,) = set(multiprocessing.active_children()) - others
        os.kill(worker.pid, signal.SIGTERM)

    hook = model.register_forward_hook(ask_to_stop)
    found = evaluate(model, split, console, top_k=15, num_workers=1)
    hook.remove()
    assert list(found.detections) == list(evaluation.detections)
    assert found.metrics == evaluation.metrics


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(model, split, console, training):
    model.train(training)
    evaluate(model, split, console, top_k=1, image_ids={1})
    assert model.training == training
    model.eval()


def test_no_limit_means_all_images(split):
    assert image_ids_of(split.annotations, None) is None


def test_a_limit_below_one_is_refused(split):
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        image_ids_of(split.annotations, 0)


def test_a_missing_image_is_refused_before_the_first_is_evaluated(model, copied_set):
    (copied_set.images / "000008.png").unlink()
    with pytest.raises(DataError, match=r"000008\.png: no such image file"):
        EvaluationImages(find_split(copied_set.folder, "train"), model.preprocessing)
