"""Prediction on images as people have them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks

from solq_maskcodec import DCTMaskCodec
from solq_model import Categories, Category, Instances
from solq_model.predict import coco_detections, known_categories, open_image
from solq_model.preprocess import Preprocessing

COCO = [{"id": 1, "name": "person"}, {"id": 7, "name": "train"}, {"id": 23, "name": "bear"}]
HEIGHT, WIDTH = 48, 64


def noise_pixels(height=HEIGHT, width=WIDTH):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def pixels():
    return noise_pixels()


@pytest.fixture
def model(make_model):
    model = make_model()
    model.categories = Categories.contiguous(COCO)
    model.preprocessing = Preprocessing(short_side=32, max_size=64)
    return model


@pytest.fixture
def result(model, pixels):
    return model.predict(pixels, threshold=0.0, top_k=6)


def write(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def assert_same_result(ours, others):
    assert torch.equal(ours.scores, others.scores)
    assert torch.equal(ours.boxes, others.boxes)
    assert torch.equal(ours.masks, others.masks)
    assert ours.labels == others.labels


def test_a_result_says_what_is_where(result):
    assert len(result) == 6
    assert result.scores.tolist() == sorted(result.scores.tolist(), reverse=True)
    assert result.boxes.shape == (6, 4)
    assert result.masks.shape == (6, HEIGHT, WIDTH)
    assert result.image.size == (WIDTH, HEIGHT)


def test_labels_and_names_are_those_of_the_data_set(result):
    by_id = {entry["id"]: entry["name"] for entry in COCO}
    assert set(result.labels) <= set(by_id)
    assert len(set(result.labels)) > 1
    assert result.names == [by_id[label] for label in result.labels]
    slots = [category.slot for category in result.categories]
    assert slots == result.instances.labels.tolist()


def test_paths_pictures_arrays_and_tensors_give_the_same_result(model, pixels, tmp_path):
    path = write(tmp_path / "image.png", pixels)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = model.predict(pixels, threshold=0.0)
    for image in (path, str(path), Image.fromarray(pixels), tensor):
        assert_same_result(model.predict(image, threshold=0.0), expected)


def test_only_scores_of_at_least_the_threshold_are_kept(model, pixels):
    scores = model.predict(pixels, threshold=0.0).scores
    threshold = scores[3].item()
    kept = model.predict(pixels, threshold=threshold)
    assert torch.equal(kept.scores, scores[:4])
    nothing = model.predict(pixels, threshold=1.0)
    assert len(nothing) == 0
    assert nothing.masks.shape == (0, HEIGHT, WIDTH)
    assert nothing.labels == nothing.names == nothing.rle() == nothing.to_coco() == []
    assert nothing.plot().size[0] >= WIDTH


def test_slots_without_a_category_are_left_out(model, pixels):
    everything = model.predict(pixels, threshold=0.0)
    model.categories = Categories((Category(5, "cat", 1),))
    known = model.predict(pixels, threshold=0.0)
    assert set(known.labels) == {5}
    in_slot_1 = everything.instances.labels == 1
    assert torch.equal(known.scores, everything.scores[in_slot_1])


def test_known_categories_of_an_empty_result():
    nothing = Instances(
        scores=torch.zeros(0),
        labels=torch.zeros(0, dtype=torch.int64),
        boxes=torch.zeros(0, 4),
        mask_vectors=torch.zeros(0, 16),
        codec=DCTMaskCodec(16, 4),
        image_size=(3, 3),
    )
    kept, categories = known_categories(nothing, Categories.contiguous(COCO))
    assert len(kept) == 0
    assert categories == ()
    assert coco_detections(3, nothing, []) == []


def test_rle_equals_the_masks(result):
    for rle, mask in zip(result.rle(), result.masks.numpy(), strict=True):
        expected = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == {"size": [HEIGHT, WIDTH], "counts": expected["counts"].decode()}


def test_coco_detections_are_plain_values_with_the_ids_of_the_data_set(result):
    detections = result.to_coco(image_id=139)
    assert json.loads(json.dumps(detections)) == detections
    for index, detection in enumerate(detections):
        assert detection["image_id"] == 139
        assert detection["category_id"] == result.labels[index]
        assert detection["score"] == result.scores[index].item()
        assert detection["segmentation"] == result.rle()[index]
        x0, y0, x1, y1 = result.boxes[index].tolist()
        assert detection["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0])


@pytest.mark.parametrize("name", ["out.png", "out.JPG"])
def test_saving_writes_the_plot(result, tmp_path, name):
    result.save(str(tmp_path / name))
    with Image.open(tmp_path / name) as written:
        assert written.size == result.plot().size
        if name.endswith("png"):
            assert written.convert("RGB") == result.plot()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out", "out.txt", "out.psd"])
def test_saving_to_what_is_no_picture_is_refused(result, tmp_path, name):
    with pytest.raises(ValueError, match="the ending must be that of an image format"):
        result.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("training", [True, False])
def test_predicting_leaves_the_model_in_its_mode(model, pixels, training):
    model.train(training)
    model.predict(pixels)
    assert model.training is training
    assert model.decoder.training is training


def test_a_training_model_predicts_as_in_evaluation(make_model, pixels):
    model = make_model(dropout=0.5, backbone_norm="batch")
    expected = model.predict(pixels, threshold=0.0)
    assert_same_result(model.train().predict(pixels, threshold=0.0), expected)


def test_a_failing_prediction_leaves_the_model_in_its_mode(model, pixels):
    model.train()
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        model.predict(pixels, top_k=0)
    assert model.training


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (33, 65)])
def test_images_of_any_size_can_be_predicted(model, size):
    result = model.predict(noise_pixels(*size), threshold=0.0)
    assert result.masks.shape[1:] == size
    assert result.boxes.isfinite().all()


def test_a_photograph_is_turned_upright(tmp_path):
    picture = Image.new("RGB", (4, 2))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = open_image(tmp_path / "turned.png")
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_any_mode_become_rgb(tmp_path, pixels, mode):
    picture = Image.fromarray(pixels).convert(mode)
    picture.save(tmp_path / "image.png")
    assert open_image(tmp_path / "image.png") == picture.convert("RGB")
    assert open_image(picture).mode == "RGB"


def test_a_missing_image_is_named(model, tmp_path):
    with pytest.raises(ValueError, match=r"image .*missing\.png: no such file"):
        model.predict(tmp_path / "missing.png")


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.webp", "image.bmp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_image_is_named(pixels, tmp_path, name, share):
    path = write(tmp_path / name, pixels)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"image .*{name}: not a whole image file"):
        open_image(path)


def test_what_is_no_image_file_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    for path in (tmp_path / "notes.png", tmp_path):
        with pytest.raises(ValueError, match=rf"image {path}: not a whole image file"):
            open_image(path)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3)), r"uint8 array \[height, width, 3\], got float64 \(4, 5, 3\)"),
        (np.zeros((4, 5), np.uint8), r"uint8 array \[height, width, 3\], got uint8 \(4, 5\)"),
        (np.zeros((3, 4, 5), np.uint8), r"got uint8 \(3, 4, 5\)"),
        (np.zeros((0, 5, 3), np.uint8), r"at least one pixel, got shape \(0, 5, 3\)"),
        (
            torch.zeros(3, 4, 5),
            r"uint8 tensor \[3, height, width\], got torch\.float32 \(3, 4, 5\)",
        ),
        (torch.zeros(4, 5, 3, dtype=torch.uint8), r"got torch\.uint8 \(4, 5, 3\)"),
        (torch.zeros(3, 4, 0, dtype=torch.uint8), r"at least one pixel, got shape \(3, 4, 0\)"),
        (b"image", "a path, a PIL image, an array or a tensor, got bytes"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_image_is_described(model, image, message):
    with pytest.raises(ValueError, match=rf"image must .*{message}"):
        model.predict(image)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_score_is_refused(model, pixels, threshold):
    with pytest.raises(ValueError, match=rf"threshold must be in 0\.\.1, got {threshold}"):
        model.predict(pixels, threshold=threshold)
