"""An image's bytes become objects, masks of fewer coefficients, and sampling points."""

from __future__ import annotations

import io
import json

import pytest
import torch
from PIL import Image

from solq_maskcodec import polygons_to_rle, rle_to_masks
from solq_train.serve.inference import LARGEST_SHOWN, ForgottenError, Inference


def dense(polygons, found):
    size = (found["height"], found["width"])
    return torch.as_tensor(rle_to_masks([polygons_to_rle(polygons, size)])[0])


def test_objects_are_those_that_the_model_predicts_whatever_their_score(inference, model, image):
    found = inference.predict(image)
    result = model.predict(Image.open(io.BytesIO(image)), threshold=0.0)
    objects = found["objects"]
    assert len(objects) == len(result) == 15
    assert [item["name"] for item in objects] == result.names
    assert [item["category_id"] for item in objects] == result.labels
    assert [item["query"] for item in objects] == result.instances.queries.tolist()
    assert [item["score"] for item in objects] == pytest.approx(result.scores.tolist(), abs=1e-4)
    assert [item["score"] for item in objects] == sorted(i["score"] for i in objects)[::-1]
    for item, mask in zip(objects, result.masks, strict=True):
        assert torch.equal(dense(item["polygons"], found), mask)
    json.dumps(found, allow_nan=False)


def test_the_first_coefficients_of_each_vector_make_its_masks(inference, model, image):
    found = inference.predict(image)
    result = model.predict(Image.open(io.BytesIO(image)), threshold=0.0)
    vectors = result.instances.mask_vectors.clone()
    vectors[:, 5:] = 0
    expected = model.codec.decode(vectors)
    whole = result.instances.box_masks
    cut = inference.masks(found["id"], 5)
    assert cut["coefficients"] == 5
    for item, mask, other in zip(cut["objects"], expected, whole, strict=True):
        union = (mask | other).sum()
        iou = ((mask & other).sum() / union).item() if union else 1.0
        assert item["iou"] == pytest.approx(iou, abs=1e-6)
    assert cut["objects"][0]["polygons"] != found["objects"][0]["polygons"]


def test_all_coefficients_make_the_masks_themselves(inference, image):
    found = inference.predict(image)
    cut = inference.masks(found["id"], 16)
    assert all(item["iou"] == 1 for item in cut["objects"])
    assert [i["polygons"] for i in cut["objects"]] == [i["polygons"] for i in found["objects"]]


def test_sampling_points_are_those_of_the_models_explanation(inference, model, image):
    found = inference.predict(image)
    explained = inference.explain(found["id"], 2)
    expected = model.explain(Image.open(io.BytesIO(image)), query=2)
    locations = torch.tensor(explained["locations"])
    assert locations.shape == expected.locations.shape == (2, 2, 2, 1, 2)
    torch.testing.assert_close(locations, expected.locations.float(), atol=0.06, rtol=0)
    weights = torch.tensor(explained["weights"])
    torch.testing.assert_close(weights, expected.weights.float(), atol=1e-5, rtol=0)
    assert (explained["name"], explained["query"]) == (expected.name, 2)
    assert len(explained["strides"]) == 2


def test_a_large_image_is_shown_at_the_size_of_a_screen(model):
    inference = Inference(model, "small", most_kept=1, most_pixels=10**7)
    file = io.BytesIO()
    Image.new("RGB", (2 * LARGEST_SHOWN, 400), "navy").save(file, "JPEG")
    found = inference.predict(file.getvalue())
    assert found["image_size"] == [400, 2 * LARGEST_SHOWN]
    assert (found["width"], found["height"]) == (LARGEST_SHOWN, 200)
    with Image.open(io.BytesIO(inference.picture(found["id"]))) as picture:
        assert picture.size == (LARGEST_SHOWN, 200)
    whole = model.predict(Image.open(file), threshold=0.0)
    boxes = torch.tensor([item["box"] for item in found["objects"]])
    torch.testing.assert_close(boxes, whole.boxes / 2, atol=0.06, rtol=0)
    box = torch.tensor(inference.explain(found["id"], found["objects"][0]["query"])["boxes"][-1])
    torch.testing.assert_close(box, boxes[0], atol=0.2, rtol=0)


def test_one_pixel_is_an_image(inference):
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    found = inference.predict(file.getvalue())
    assert (found["width"], found["height"]) == (1, 1)


def test_only_the_last_images_are_kept_and_those_asked_for_count_as_late(inference, image):
    first = inference.predict(image)["id"]
    others = [inference.predict(image)["id"] for _ in range(2)]
    inference.masks(first, 3)
    assert len({first, *others}) == 3
    assert all(len(name) > 20 for name in (first, *others))  # not to be guessed
    inference.predict(image)
    inference.masks(first, 3)
    with pytest.raises(ForgottenError, match=r"no longer kept \(the last 3 are\)"):
        inference.masks(others[0], 3)


@pytest.mark.parametrize("number", [0, 17])
def test_coefficients_that_there_are_not_are_refused(inference, image, number):
    found = inference.predict(image)
    with pytest.raises(ValueError, match=rf"coefficients must be in 1\.\.16, got {number}"):
        inference.masks(found["id"], number)


def test_a_query_that_there_is_not_is_refused(inference, image):
    found = inference.predict(image)
    with pytest.raises(ValueError, match=r"query must be in 0\.\.4, got 5"):
        inference.explain(found["id"], 5)
