"""Prediction on images as people have them, one or many."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from solq_maskcodec import DCTMaskCodec
from solq_model import Categories, Category, Instances
from solq_model.predict import known_categories
from solq_model.preprocess import Preprocessing
from solq_model.result import Result

COCO = [{"id": 1, "name": "person"}, {"id": 7, "name": "train"}, {"id": 23, "name": "bear"}]
HEIGHT, WIDTH = 48, 64
SIZES = ((48, 64), (64, 48), (48, 64), (20, 64), (48, 64), (33, 35), (64, 48), (48, 64), (1, 40))


def noise_pixels(height=HEIGHT, width=WIDTH, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def pixels():
    return noise_pixels()


@pytest.fixture(scope="module")
def many():
    return [noise_pixels(*size, seed=seed) for seed, size in enumerate(SIZES)]


@pytest.fixture
def model(make_model):
    return with_categories(make_model())


def with_categories(model):
    model.categories = Categories.contiguous(COCO)
    model.preprocessing = Preprocessing(short_side=32, max_size=64)
    return model


def write(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def assert_same_result(ours, others):
    assert torch.equal(ours.scores, others.scores)
    assert torch.equal(ours.boxes, others.boxes)
    assert torch.equal(ours.masks, others.masks)
    assert ours.labels == others.labels


def assert_same_within_rounding(ours, others):
    torch.testing.assert_close(ours.scores, others.scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.boxes, others.boxes, atol=1e-2, rtol=0)
    assert ours.labels == others.labels
    assert ours.image == others.image
    masks, expected = ours.masks, others.masks
    both, either = (masks & expected).sum((1, 2)), (masks | expected).sum((1, 2))
    # Rounding may move a pixel across the threshold, where its value is within 1e-5 of it.
    assert (both >= 0.999 * either).all()


def test_labels_and_names_are_those_of_the_data_set(model, pixels):
    result = model.predict(pixels, threshold=0.0, top_k=6)
    assert len(result) == 6
    assert result.scores.tolist() == sorted(result.scores.tolist(), reverse=True)
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
    assert expected.path is None
    assert expected.image.size == (WIDTH, HEIGHT)
    for image in (path, str(path), Image.fromarray(pixels), tensor, tensor / 255, pixels / 255):
        assert_same_result(model.predict(image, threshold=0.0), expected)
    assert model.predict(str(path)).path == path


def test_only_scores_of_at_least_the_threshold_are_kept(model, pixels):
    scores = model.predict(pixels, threshold=0.0).scores
    threshold = scores[3].item()
    kept = model.predict(pixels, threshold=threshold)
    assert torch.equal(kept.scores, scores[:4])
    assert len(model.predict(pixels, threshold=1.0)) == 0


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


def test_a_detector_predicts_boxes(make_model, pixels):
    model = with_categories(make_model(mask_head="none"))
    for result in (model.predict(pixels, threshold=0.0), *model.predict([pixels], threshold=0.0)):
        assert result.boxes.shape == (len(result), 4)
        assert result.plot().size[0] >= WIDTH
        with pytest.raises(ValueError, match="mask"):
            _ = result.masks


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_several_images_give_a_list_in_their_order(model, many, kind):
    results = model.predict(kind(many), threshold=0.0)
    assert isinstance(results, list)
    for result, pixels in zip(results, many, strict=True):
        assert_same_result(result, model.predict(pixels, threshold=0.0))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_folder_gives_the_results_of_its_images_by_name(model, many, tmp_path, batch_size):
    for index, pixels in reversed(list(enumerate(many))):
        write(tmp_path / f"{index}.png", pixels)
    (tmp_path / "notes.txt").write_text("no image")
    results = model.predict(tmp_path, threshold=0.0, batch_size=batch_size)
    assert [result.path.name for result in results] == [f"{i}.png" for i in range(len(many))]
    for result, pixels in zip(results, many, strict=True):
        assert_same_within_rounding(result, model.predict(pixels, threshold=0.0))


@pytest.mark.parametrize("images", [[], (), iter([])])
def test_no_images_are_refused(model, images):
    with pytest.raises(ValueError, match="images must hold at least one image, got none"):
        model.predict(images)


def test_a_folder_without_images_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=rf"images {tmp_path}: expected image files"):
        model.predict(tmp_path)


@pytest.mark.parametrize("images", [None, 3, b"image"])
def test_what_are_no_images_is_described(model, images):
    with pytest.raises(ValueError, match=f"images must be .*, got {type(images).__name__}"):
        model.predict(images)


CONFIGURATIONS = {
    "one stage": {},
    "plain": {"box_refinement": False, "position_embedding": "learned"},
    "two stages, mixed": {"two_stage": True, "query_selection": "mixed", "num_queries": 20},
    # Of the small images the coarsest level is one cell: with few channels to a group, group norm
    # would make much of what rounding left between them.
    "five levels": {"num_feature_levels": 5, "hidden_dim": 128},
    "dilated C5": {
        "backbone": "resnet50",
        "backbone_norm": "frozen",
        "dilation": True,
        "num_feature_levels": 1,
    },
    "Swin": {"backbone": "swin_t", "backbone_norm": "frozen", "num_feature_levels": 4},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_results_do_not_depend_on_the_batch(make_model, many, name):
    model = with_categories(make_model(**CONFIGURATIONS[name]))
    alone = [model.predict(pixels, threshold=0.0) for pixels in many]
    for batch_size in (2, 4):
        together = model.predict(many, threshold=0.0, batch_size=batch_size)
        for result, expected in zip(together, alone, strict=True):
            assert_same_within_rounding(result, expected)


@pytest.mark.parametrize("seed", range(6))
def test_an_images_result_does_not_depend_on_its_neighbours(model, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 90, (rng.integers(2, 7), 2)).tolist()
    images = [noise_pixels(*size, seed=seed) for size in sizes]
    together = model.predict(images, threshold=0.0, batch_size=int(rng.integers(2, 9)))
    for size, image, result in zip(sizes, images, together, strict=True):
        assert result.instances.image_size == tuple(size)
        assert_same_within_rounding(result, model.predict(image, threshold=0.0))


def test_images_of_like_sizes_pass_the_network_together(model, many, monkeypatch):
    batches = []
    forward = model.forward

    def spy(images, **options):
        batches.append([tuple(image.shape[1:]) for image in images])
        return forward(images, **options)

    monkeypatch.setattr(model, "forward", spy)
    model.predict(many, batch_size=3)
    assert sum(map(len, batches)) == len(many)
    assert max(map(len, batches)) == 3
    for batch in batches:
        height, width = np.max(batch, axis=0)
        assert len(batch) * height * width <= 1.25 * sum(h * w for h, w in batch)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_stream_holds_a_bounded_number_of_images(model, batch_size):
    taken = 0

    def camera():
        nonlocal taken
        for taken in itertools.count(1):
            yield noise_pixels(16, 16, seed=taken)

    results = model.predict_each(camera(), batch_size=batch_size)
    assert taken == 0
    for count, _ in enumerate(itertools.islice(results, 20), start=1):
        window = 1 if batch_size == 1 else 4 * batch_size
        assert count <= taken < count + window
    results.close()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_stream_gives_what_a_list_gives(model, many, batch_size):
    results = model.predict_each(iter(many), threshold=0.0, top_k=5, batch_size=batch_size)
    expected = model.predict(many, threshold=0.0, top_k=5, batch_size=batch_size)
    for result, other in zip(results, expected, strict=True):
        assert isinstance(result, Result)
        assert_same_result(result, other)
    assert list(model.predict_each([])) == []


@pytest.fixture
def with_a_broken_file(pixels, tmp_path):
    """Three image files, the second of which is cut off."""
    paths = [write(tmp_path / f"{name}.png", pixels) for name in ("a", "b", "c")]
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    return paths


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_an_image_that_cannot_be_opened_raises_after_the_results_before_it(
    model, with_a_broken_file, batch_size
):
    results = model.predict_each(with_a_broken_file, batch_size=batch_size)
    assert next(results).path == with_a_broken_file[0]
    with pytest.raises(ValueError, match=r"image .*b\.png: not a whole image file"):
        next(results)
    with pytest.raises(ValueError, match=r"image .*b\.png: not a whole image file"):
        model.predict(with_a_broken_file, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_stream_may_go_on_without_an_image(model, with_a_broken_file, batch_size):
    errors = []
    results = model.predict_each(
        with_a_broken_file,
        batch_size=batch_size,
        on_error=lambda index, error: errors.append((index, str(error))),
    )
    assert [result.path.name for result in results] == ["a.png", "c.png"]
    ((index, message),) = errors
    assert index == 1
    assert "b.png: not a whole image file" in message


@pytest.mark.parametrize("batch_size", [1, 2])
def test_an_image_that_is_no_file_is_named_by_its_index(model, pixels, batch_size):
    images = [pixels, pixels.astype(np.int64)]
    with pytest.raises(ValueError, match=r"images\[1\]: image must be uint8 .*, got int64"):
        model.predict(images, batch_size=batch_size)


def test_an_error_of_the_images_themselves_reaches_the_caller(model, pixels):
    def broken():
        yield pixels
        message = "the camera is gone"
        raise OSError(message)

    for batch_size in (1, 4):
        with pytest.raises(OSError, match="the camera is gone"):
            model.predict(broken(), batch_size=batch_size)


@pytest.mark.parametrize("training", [True, False])
def test_predicting_leaves_the_model_in_its_mode(model, pixels, training):
    model.train(training)
    for _ in model.predict_each([pixels, pixels]):
        assert model.training is training
        assert model.decoder.training is training
        assert not torch.is_inference_mode_enabled()
    assert model.training is training


def test_a_training_model_predicts_as_in_evaluation(make_model, pixels):
    model = make_model(dropout=0.5, backbone_norm="batch")
    expected = model.predict(pixels, threshold=0.0)
    assert_same_result(model.train().predict(pixels, threshold=0.0), expected)


def test_a_failing_prediction_leaves_the_model_in_its_mode(model, pixels, monkeypatch):
    def fail(*_, **__):
        message = "out of memory"
        raise RuntimeError(message)

    monkeypatch.setattr(model, "forward", fail)
    model.train()
    with pytest.raises(RuntimeError, match="out of memory"):
        model.predict(pixels)
    assert model.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -0.1}, r"threshold must be in 0\.\.1, got -0\.1"),
        ({"threshold": 1.1}, r"threshold must be in 0\.\.1, got 1\.1"),
        ({"threshold": float("nan")}, r"threshold must be in 0\.\.1, got nan"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused_before_any_image_is_taken(model, options, message):
    images = iter([None])
    with pytest.raises(ValueError, match=message):
        model.predict_each(images, **options)
    with pytest.raises(ValueError, match=message):
        model.predict(images, **options)
    assert list(images) == [None]


SMALL_SIZES = [(1, 1), (1, 40), (40, 1), (7, 7), (32, 48), (33, 65)]
LONG_SIZES = [(1, 5000), (5000, 1), (3, 900)]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_images_of_any_size_have_a_result(make_model, name):
    model = with_categories(make_model(**CONFIGURATIONS[name]))
    is_learned = model.config.position_embedding == "learned"
    for size in SMALL_SIZES + LONG_SIZES * (not is_learned):
        result = model.predict(noise_pixels(*size), threshold=0.0, top_k=3)
        assert result.masks.shape == (3, *size)
        assert result.boxes.isfinite().all()
        assert result.scores.isfinite().all()
        assert result.rle()[0]["size"] == list(size)
        assert result.plot().size[0] >= size[1]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_image_that_the_network_is_too_small_for_is_named(make_model, tmp_path, batch_size):
    model = with_categories(make_model(position_embedding="learned"))
    paths = [write(tmp_path / f"{w}.png", noise_pixels(20, w)) for w in (20, 24)]
    paths.insert(1, write(tmp_path / "long.png", noise_pixels(1, 5000)))
    errors = []
    results = model.predict_each(
        paths, batch_size=batch_size, on_error=lambda *error: errors.append(error)
    )
    assert [result.path.name for result in results] == ["20.png", "24.png"]
    ((index, error),) = errors
    assert index == 1
    assert f"image {paths[1]}: learned positions reach 50 x 50 cells" in str(error)
    with pytest.raises(ValueError, match=r"images\[0\]: learned positions reach"):
        model.predict(noise_pixels(1, 5000))


def test_a_4k_image_is_encoded_without_a_mask_of_its_size(model, monkeypatch):
    monkeypatch.setattr("solq_model.records.paste_masks", lambda *_: pytest.fail("pasted"))
    result = model.predict(noise_pixels(2160, 3840), threshold=0.0, top_k=20)
    assert len(result) == 20
    tracemalloc.start()
    detections = result.to_coco()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert detections[0]["segmentation"]["size"] == [2160, 3840]
    assert peak < 2160 * 3840  # one mask of all
