"""Samples of a data set: what is in them, what is left out, and that chance is in hand."""

from __future__ import annotations

import json
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from solq_model.categories import Categories
from solq_model.preprocess import normalize
from solq_train.data.collate import collate
from solq_train.data.dataset import CocoInstances, EpochSampler, clipped_boxes, sample_rng
from solq_train.data.defects import DataError
from solq_train.data.transforms import EvalTransform, LargeScaleJitter, TrainTransform

GOLDEN = json.loads((Path(__file__).parent / "fixtures" / "golden_data.json").read_text())


def dataset(small_set: Any, transform: Any = None, seed: int = 0, **options: Any) -> CocoInstances:
    return CocoInstances(
        small_set.save(),
        small_set.images,
        small_set.categories,
        transform or EvalTransform(30),
        seed,
        mask_size=8,
        image_masks=True,
        **options,
    )


def test_sample_has_the_objects_of_the_image(small_set: Any) -> None:
    image, target = dataset(small_set)[0]
    assert image.shape == (3, 30, 40)
    assert target.image_id == 11
    assert target.image_size == target.original_size == (30, 40)
    assert target.boxes.tolist() == [[2, 3, 12, 11], [20, 5, 30, 15]]
    assert target.image_masks.flatten(1).sum(1).tolist() == [80, 84]
    assert target.box_masks.flatten(1).sum(1).tolist() == [64, 52]  # the hole takes 12 of 64 bins


def test_labels_are_class_slots_and_not_category_ids(small_set: Any) -> None:
    assert dataset(small_set)[0][1].labels.tolist() == [1, 0]


def test_crowds_are_left_out_of_targets_and_kept_in_the_records(small_set: Any) -> None:
    data = dataset(small_set)
    assert len(data[0][1].labels) == 2
    assert [item.is_crowd for item in data.coco.images[0].annotations] == [False, False, True]


def test_empty_images_are_samples_too(small_set: Any) -> None:
    data = dataset(small_set)
    assert len(data) == 2
    target = data[1][1]
    assert target.boxes.shape == (0, 4)
    assert target.image_masks.shape == (0, 30, 40)
    assert target.box_masks.shape == (0, 8, 8)
    assert (target.boxes.dtype, target.labels.dtype, target.box_masks.dtype) == (
        torch.float32,
        torch.int64,
        torch.bool,
    )


def test_boxes_are_cut_off_at_the_border(small_set: Any) -> None:
    small_set.document["annotations"][0]["bbox"] = [-5, 20, 60, 30]
    assert dataset(small_set)[0][1].boxes[0].tolist() == [0, 20, 40, 30]


@pytest.mark.parametrize("bbox", [[2, 3, 0, 8], [2, 3, 8, -1], [50, 3, 10, 10], [2, -9, 5, 9]])
def test_objects_without_area_in_the_image_are_left_out_and_logged(
    small_set: Any, bbox: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    small_set.document["annotations"][0]["bbox"] = bbox
    with caplog.at_level(logging.WARNING):
        data = dataset(small_set)
    assert data[0][1].labels.tolist() == [0]
    assert "1 objects are left out" in caplog.text
    assert "(ids 1)" in caplog.text


def test_clipped_boxes_of_nothing() -> None:
    assert clipped_boxes([], (3, 4)).shape == (0, 4)


def test_missing_image_stops_before_the_first_sample(small_set: Any) -> None:
    (small_set.images / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: no such image file \(image id 12\)"):
        dataset(small_set)


def test_missing_image_folder_is_named(small_set: Any) -> None:
    small_set.document["images"] = small_set.document["images"][:1]
    with pytest.raises(DataError, match="nowhere: must be the folder of the images"):
        CocoInstances(
            small_set.save(), small_set.folder / "nowhere", small_set.categories, EvalTransform()
        )


def test_truncated_image_names_the_file(small_set: Any) -> None:
    path = small_set.images / "a.png"
    path.write_bytes(path.read_bytes()[:500])
    data = dataset(small_set)
    with pytest.raises(DataError, match=r"a\.png: must be a whole image file"):
        data[0]


def test_broken_run_lengths_name_file_image_and_annotation(small_set: Any) -> None:
    small_set.document["annotations"][1]["segmentation"]["counts"] = "05"
    data = dataset(small_set)
    with pytest.raises(DataError, match=r"instances\.json: image id 11: annotation id 2: counts"):
        data[0]


def test_category_the_model_does_not_have_is_named(small_set: Any) -> None:
    known = Categories.contiguous([{"id": 3, "name": "bar"}])
    with pytest.raises(DataError, match=r"category id 7 \('square'\) must be one of .* 1 categ"):
        CocoInstances(small_set.save(), small_set.images, known, EvalTransform())


def test_chance_depends_on_seed_epoch_and_image_only(small_set: Any) -> None:
    transform = TrainTransform(short_sides=tuple(range(20, 40)), crop=0.5, crop_size=(10, 30))

    def draw(seed: int, epoch: int, order: list[int]) -> dict[int, torch.Tensor]:
        data = dataset(small_set, transform, seed)
        data.set_epoch(epoch)
        return {index: data[index][0] for index in order}

    first = draw(0, 0, [0, 1])
    for index, image in draw(0, 0, [1, 0]).items():
        assert torch.equal(image, first[index])
    assert any(draw(0, epoch, [0])[0].shape != first[0].shape for epoch in range(1, 4))
    assert any(draw(seed, 0, [0])[0].shape != first[0].shape for seed in range(1, 4))


def test_sample_rng_is_the_same_on_every_machine() -> None:
    assert sample_rng(1, 2, 3).randint(0, 10**6) == sample_rng(1, 2, 3).randint(0, 10**6)
    assert sample_rng(0, 0, 5).randrange(10**6) == 18949


# From Python 3.12 on a fork beside torch's threads warns; workers are forked on Linux up to 3.13.
FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@FORKS
def test_workers_that_live_on_see_the_next_epoch(small_set: Any) -> None:
    data = dataset(small_set, TrainTransform(short_sides=tuple(range(20, 60)), crop=0.0))
    loader = DataLoader(
        data, batch_size=2, collate_fn=collate, num_workers=1, persistent_workers=True
    )
    for epoch in (3, 4):
        data.set_epoch(epoch)
        (batch,) = list(loader)
        for index, image in enumerate(batch.images):
            assert torch.equal(image, data[index][0]), f"epoch {epoch}"


def jittered(small_set: Any, **options: Any) -> CocoInstances:
    """Samples that all have objects of another image, or of themselves, pasted in."""
    transform = TrainTransform(jitter=LargeScaleJitter(40, (0.8, 1.5)))
    return dataset(small_set, transform, copy_paste=1.0, **options)


@FORKS
def test_pasted_samples_are_the_same_in_any_process_and_order(small_set: Any) -> None:
    data = jittered(small_set)
    loader = DataLoader(data, batch_size=2, collate_fn=collate, num_workers=2)
    drawn = []
    for epoch in range(6):
        data.set_epoch(epoch)
        (batch,) = list(loader)
        for index in (1, 0):
            image, target = data[index]
            assert torch.equal(batch.images[index], image), f"epoch {epoch}"
            assert torch.equal(batch.targets[index].boxes, target.boxes), f"epoch {epoch}"
            assert torch.equal(batch.targets[index].box_masks, target.box_masks)
        drawn.append(len(batch.targets[1].labels))  # of an image without objects of its own
    assert 0 in drawn
    assert max(drawn) > 0


def test_objects_are_pasted_from_the_chosen_images_only(small_set: Any) -> None:
    data = jittered(small_set, paste_from=(12,))  # which has no objects
    for epoch in range(6):
        data.set_epoch(epoch)
        assert len(data[1][1].labels) == 0


def test_images_to_paste_from_must_be_there(small_set: Any) -> None:
    with pytest.raises(ValueError, match=r"paste_from must hold ids of images of .*json, got none"):
        dataset(small_set, copy_paste=0.5, paste_from=(99,))


def test_a_probability_of_pasting_above_1_is_refused(small_set: Any) -> None:
    with pytest.raises(ValueError, match=r"copy_paste must be a probability .*, got 1.5"):
        dataset(small_set, copy_paste=1.5)


def test_a_hundred_objects_of_a_large_image_need_the_memory_of_few_masks(small_set: Any) -> None:
    height, width = 2160, 3840
    Image.new("RGB", (width, height)).save(small_set.images / "large.png")
    square = {key: small_set.document["annotations"][0][key] for key in ("category_id", "area")}
    small_set.document["images"] = [
        {"id": 1, "file_name": "large.png", "height": height, "width": width}
    ]
    small_set.document["annotations"] = []
    for index in range(100):
        x, y = 300 * (index % 10) + 7, 200 * (index // 10) + 3
        outline = [x, y, x + 500, y + 30, x + 460, y + 150]
        item = {"bbox": [x, y, 500, 150], "segmentation": [outline], "image_id": 1}
        small_set.document["annotations"].append({"id": index + 1, **square, **item})
    data = CocoInstances(
        small_set.save(), small_set.images, small_set.categories, TrainTransform(), mask_size=128
    )
    tracemalloc.start()
    _, target = data[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(target.labels) > 10
    # Pillow's and torch's own memory is not traced: what is, is the masks.
    assert peak < 3 * height * width


@FORKS
def test_an_error_in_a_worker_still_names_the_file(small_set: Any) -> None:
    (small_set.images / "a.png").write_bytes(b"no image")
    loader = DataLoader(dataset(small_set), collate_fn=collate, num_workers=1)
    with pytest.raises(DataError, match=r"a\.png: must be a whole image file"):
        list(loader)


def test_sampler_orders_depend_on_seed_and_epoch() -> None:
    sampler = EpochSampler(50, seed=7)
    first = list(sampler)
    assert sorted(first) == list(range(50))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(EpochSampler(50, seed=8)) != first
    assert len(sampler) == 50


def test_sampler_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        EpochSampler(0, seed=0)


@pytest.fixture(scope="module")
def published(shared_data: Path) -> CocoInstances:
    folder = shared_data / "coco_mini_cc"
    annotations = folder / "annotations" / "instances_val2017.json"
    categories = Categories.by_id(json.loads(annotations.read_text())["categories"])
    return CocoInstances(
        annotations, folder / "val2017", categories, EvalTransform(), image_masks=True
    )


@pytest.mark.parametrize("golden", GOLDEN["images"], ids=lambda golden: str(golden["image_id"]))
def test_real_samples_equal_the_published_ones(
    published: CocoInstances, golden: dict[str, Any]
) -> None:
    ids = [image.id for image in published.coco.images]
    image, target = published[ids.index(golden["image_id"])]
    assert list(image.shape) == golden["tensor_size"]
    assert list(target.image_size) == golden["size"]
    assert list(target.original_size) == golden["orig_size"]
    assert target.labels.tolist() == golden["labels"]
    assert target.image_masks.flatten(1).sum(1).tolist() == golden["mask_pixels"]
    image = normalize(image)
    means, deviations = image.double().mean((1, 2)), image.double().std((1, 2))
    torch.testing.assert_close(means, torch.tensor(golden["mean"]).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(deviations, torch.tensor(golden["std"]).double(), rtol=0, atol=1e-6)
    rows, columns, *values = torch.tensor(golden["samples"], dtype=torch.float64).T
    torch.testing.assert_close(
        image[:, rows.long(), columns.long()], torch.stack(values).float(), rtol=0, atol=1e-6
    )
    boxes = torch.tensor(golden["xyxy"], dtype=torch.float32).reshape(-1, 4)
    torch.testing.assert_close(target.boxes, boxes, rtol=0, atol=1e-4)
    sides = torch.tensor(target.image_size).flip(0).repeat(2)
    x0, y0, x1, y1 = (target.boxes / sides).unbind(1)
    cxcywh = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=1)
    expected = torch.tensor(golden["boxes_cxcywh"], dtype=torch.float32).reshape(-1, 4)
    torch.testing.assert_close(cxcywh, expected, rtol=0, atol=1e-6)


def test_processes_share_every_batch_and_resume_within_an_epoch():
    whole = list(EpochSampler(11, 3, batch_size=4))
    assert len(whole) == 8  # no part of an incomplete batch
    shares = [list(EpochSampler(11, 3, batch_size=4, rank=rank, count=2)) for rank in (0, 1)]
    joined = [index for start in (0, 2) for share in shares for index in share[start : start + 2]]
    assert joined == whole
    sampler = EpochSampler(11, 3, batch_size=4, rank=1, count=2)
    sampler.set_epoch(0, start=4)
    assert list(sampler) == shares[1][2:]


def test_a_batch_that_processes_cannot_share_equally_is_refused():
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 3 processes, got 4"):
        EpochSampler(11, 3, batch_size=4, rank=0, count=3)
