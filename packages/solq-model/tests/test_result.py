"""What was found in one image, in the forms that people and other tools want."""

import io
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from solq_maskcodec import DCTMaskCodec, polygons_to_rle
from solq_model import Category, Instances
from solq_model.result import Result, coco_detections

HEIGHT, WIDTH = 48, 64
CODEC = DCTMaskCodec(num_coefficients=36, mask_size=16, threshold=0.5)
CATEGORIES = (Category(1, "person", 0), Category(7, "train", 1), Category(23, "bear", 2))


def make_result(count=6, *, masks=True, path=None):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([40.0, 30.0]) - 3
    sizes = torch.rand(count, 2, generator=generator) * 25 + 2
    labels = torch.arange(count) * 2 % 5 % 3
    drawn = torch.rand(count, 4, 4, generator=generator).repeat_interleave(4, 1) > 0.4
    instances = Instances(
        scores=torch.linspace(0.9, 0.4, count),
        labels=labels,
        boxes=torch.cat([corners, corners + sizes], dim=1),
        mask_vectors=CODEC.encode(drawn.repeat_interleave(4, 2)) if masks else None,
        codec=CODEC if masks else None,
        image_size=(HEIGHT, WIDTH),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Result(
        image=Image.fromarray(pixels),
        instances=instances,
        categories=tuple(CATEGORIES[slot] for slot in labels.tolist()),
        path=path,
    )


@pytest.fixture
def result():
    return make_result()


@pytest.fixture
def detector_result():
    return make_result(masks=False)


@pytest.fixture
def no_dense_masks(monkeypatch):
    """Laying masks out in the image fails."""

    def refuse(*_):
        pytest.fail("a mask was laid out in the image")

    monkeypatch.setattr("solq_model.records.paste_masks", refuse)


def same(ours, others):
    return torch.equal(ours.boxes, others.boxes) and ours.labels == others.labels


def test_a_result_says_what_is_where(result):
    assert len(result) == 6
    assert result.scores.shape == (6,)
    assert result.boxes.shape == (6, 4)
    assert result.masks.shape == (6, HEIGHT, WIDTH)
    assert result.labels == [1, 23, 7, 7, 1, 1]
    assert result.names == ["person", "bear", "train", "train", "person", "person"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (6, "Result(6 objects: 3 × person, 2 × train, 1 × bear; 48 x 64)"),  # noqa: RUF001
        (1, "Result(1 object: 1 × person; 48 x 64)"),  # noqa: RUF001
        (0, "Result(no objects; 48 x 64)"),
    ],
)
def test_a_result_reads_well(result, count, text):
    assert repr(result[:count]) == text


def test_an_index_picks_objects(result):
    assert same(result[1], result[1:2])
    assert same(result[-1], result[5])
    assert same(result[[4, 0]][1], result[0])
    assert torch.equal(result[[4, 0]].masks, result.masks[[4, 0]])
    weak = result[result.scores < 0.55]
    assert weak.names == ["person", "person"]
    assert len(result[:0]) == 0
    assert [one.names for one in result] == [[name] for name in result.names]
    with pytest.raises(IndexError):
        result[6]


def test_above_a_threshold_are_the_better_objects(result):
    assert same(result.above(0.7), result[:3])  # 0.9, 0.8, 0.7
    assert len(result.above(1.0)) == 0


def test_a_result_moves_between_devices(result):
    moved = result.to("meta")
    assert {moved.boxes.device.type, moved.scores.device.type} == {"meta"}
    assert moved.instances.mask_vectors.device.type == "meta"
    assert same(result.cpu(), result)


def test_rle_equals_the_masks(result):
    for rle, mask in zip(result.rle(), result.masks.numpy(), strict=True):
        expected = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == {"size": [HEIGHT, WIDTH], "counts": expected["counts"].decode()}


def test_polygons_make_the_masks_again(result):
    polygons = result.polygons()
    assert json.loads(json.dumps(polygons)) == polygons
    assert any(len(parts) > 1 for parts in polygons)
    for parts, rle in zip(polygons, result.rle(), strict=True):
        assert polygons_to_rle(parts, (HEIGHT, WIDTH)) == rle
        merged = coco_masks.merge(coco_masks.frPyObjects(parts, HEIGHT, WIDTH))
        assert merged["counts"].decode() == rle["counts"]


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


def test_coco_detections_may_have_polygons(result):
    polygons = [detection["segmentation"] for detection in result.to_coco(polygons=True)]
    assert polygons == result.polygons()


@pytest.mark.usefixtures("no_dense_masks")
def test_run_lengths_polygons_and_json_need_no_mask_in_the_image(result, tmp_path):
    assert len(result.rle()) == len(result.polygons()) == len(result.to_coco()) == 6
    result.save(tmp_path / "found.json")
    assert result.names


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_saved_json_is_a_coco_file_of_the_image(tmp_path, capsys):
    result = make_result(path=tmp_path / "folder" / "photo.jpg")
    result.save(tmp_path / "found.json")
    coco = COCO(tmp_path / "found.json")
    capsys.readouterr()
    (image,) = coco.loadImgs(coco.getImgIds())
    assert image == {"id": 1, "file_name": "photo.jpg", "height": HEIGHT, "width": WIDTH}
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["person", "train", "bear"]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [a["score"] for a in annotations] == result.scores.tolist()
    for annotation, mask in zip(annotations, result.masks.numpy(), strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


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
    with pytest.raises(
        ValueError, match=r"the ending must be that of an image format .*, or \.json"
    ):
        result.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_plot(result):
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert shown.convert("RGB") == result.plot()


def test_an_empty_result_has_every_form(result, tmp_path):
    nothing = result[:0]
    assert nothing.masks.shape == (0, HEIGHT, WIDTH)
    assert nothing.labels == nothing.names == nothing.rle() == nothing.polygons() == []
    assert nothing.to_coco() == []
    assert coco_detections(3, nothing.instances, []) == []
    assert nothing.plot().size[0] >= WIDTH
    nothing.save(tmp_path / "nothing.json")
    assert json.loads((tmp_path / "nothing.json").read_text())["annotations"] == []


def test_a_detector_has_boxes_pictures_and_coco_detections(detector_result, tmp_path):
    assert detector_result.plot().size[0] >= WIDTH
    detections = detector_result.to_coco()
    assert len(detections) == 6
    assert all("segmentation" not in detection for detection in detections)
    detector_result.save(tmp_path / "found.json")
    written = json.loads((tmp_path / "found.json").read_text())["annotations"][0]
    assert written["area"] == pytest.approx(written["bbox"][2] * written["bbox"][3])
    assert repr(detector_result[:1]) == repr(make_result()[:1])
    assert detector_result.cpu().instances.mask_vectors is None


def test_a_detector_has_no_masks(detector_result):
    for form in (lambda r: r.masks, Result.rle, Result.polygons):
        with pytest.raises(ValueError, match="mask"):
            form(detector_result)


@pytest.fixture
def fake_supervision(monkeypatch):
    """A stand-in for supervision that keeps what it is given."""
    module = ModuleType("supervision")
    module.Detections = SimpleNamespace

    class CompactMask:
        @classmethod
        def from_coco_rle(cls, rles, xyxy, image_shape):
            return cls(), rles, xyxy, image_shape

    module.CompactMask = CompactMask
    monkeypatch.setitem(sys.modules, "supervision", module)
    return module


def check_detections(detections, result):
    np.testing.assert_array_equal(detections.xyxy, result.boxes.numpy())
    np.testing.assert_array_equal(detections.confidence, result.scores.numpy())
    assert detections.class_id.tolist() == result.labels
    assert detections.data["class_name"].tolist() == result.names


@pytest.mark.usefixtures("fake_supervision")
def test_supervision_gets_masks_scores_and_names(result):
    detections = result.to_supervision()
    check_detections(detections, result)
    assert detections.mask.dtype == bool
    np.testing.assert_array_equal(detections.mask, result.masks.numpy())


@pytest.mark.usefixtures("no_dense_masks")
def test_supervision_gets_compact_masks_on_request(result, fake_supervision):
    mask, rles, _, image_shape = result.to_supervision(compact=True).mask
    assert isinstance(mask, fake_supervision.CompactMask)
    assert rles == result.rle()
    assert image_shape == (HEIGHT, WIDTH)


@pytest.mark.usefixtures("fake_supervision")
def test_supervision_gets_no_masks_of_a_detector(detector_result):
    for compact in (False, True):
        assert detector_result.to_supervision(compact=compact).mask is None


@pytest.mark.parametrize("compact", [False, True])
def test_supervision_itself_takes_the_detections(result, compact):
    supervision = pytest.importorskip("supervision")
    detections = result.to_supervision(compact=compact)
    assert isinstance(detections, supervision.Detections)
    check_detections(detections, result)
    assert detections[detections.confidence > 0.65].data["class_name"].tolist() == result.names[:3]
    masks = detections.mask.to_dense() if compact else detections.mask
    np.testing.assert_array_equal(masks, result.masks.numpy())
    assert len(result[:0].to_supervision(compact=compact)) == 0


def test_without_supervision_the_extra_is_named(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'solq-model\[supervision\]'"):
        result.to_supervision()
