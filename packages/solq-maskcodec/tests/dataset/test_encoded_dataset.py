"""Data sets as vectors."""

import numpy as np
import pytest

from solq_maskcodec import DCTMaskCodec, crop_masks, rle_to_masks
from solq_maskcodec.dataset.annotations import read_annotations
from solq_maskcodec.dataset.encoded_dataset import encode_dataset

_EXACT = DCTMaskCodec(32 * 32, 32, 0.5)


def test_every_object_with_a_box_has_a_vector(annotations):
    dataset = encode_dataset(_EXACT, read_annotations(annotations))
    assert dataset.vectors.shape == (4, 32 * 32)
    assert dataset.annotation_ids.tolist() == [0, 1, 2, 3]
    assert dataset.image_ids.tolist() == [8, 8, 3, 3]
    assert dataset.category_ids.tolist() == [1, 7, 1, 7]
    assert dataset.image_sizes.tolist() == [[60, 80]] * 2 + [[120, 140]] * 2
    np.testing.assert_array_equal(dataset.boxes[3], [90, 100, 140, 120])
    assert [*dataset.images()] == [slice(0, 2), slice(2, 4)]


def test_a_vector_is_that_of_the_mask_in_its_box(annotations):
    file = read_annotations(annotations)
    codec = DCTMaskCodec(20, 32, 0.5)
    dataset = encode_dataset(codec, file, refine=3)
    image = file.images[0]
    rle = file.rle(image, image.objects[1])
    crop = crop_masks(rle_to_masks([rle]), dataset.boxes[1:2], 32)
    np.testing.assert_allclose(dataset.vectors[1:2], codec.encode(crop, refine=3), atol=1e-5)


def test_results_are_coco_s_and_near_the_objects(annotations):
    file = read_annotations(annotations)
    dataset = encode_dataset(_EXACT, file)
    results = [result for part in dataset.images() for result in dataset.coco_results(part)]
    assert [result["annotation_id"] for result in results] == [0, 1, 2, 3]
    assert {(result["image_id"], result["category_id"]) for result in results} == {
        (8, 1),
        (8, 7),
        (3, 1),
        (3, 7),
    }
    image = file.images[0]
    for item, result in zip(image.encodable(), results, strict=False):
        pair = rle_to_masks([file.rle(image, item), result["segmentation"]])
        assert pair.all(axis=0).sum() / pair.any(axis=0).sum() > 0.95
        assert result["score"] == 1
        assert "bbox" not in result


def test_progress_goes_image_by_image(annotations):
    steps = []
    encode_dataset(
        _EXACT,
        read_annotations(annotations),
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_a_file_without_objects_is_refused(annotations):
    annotations["annotations"] = annotations["annotations"][5:]
    with pytest.raises(ValueError, match="must have an object with a box in its image, got none"):
        encode_dataset(_EXACT, read_annotations(annotations))
