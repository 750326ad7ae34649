"""The network's outputs equal those of the published code."""

import numpy as np
import torch

from solq_maskcodec import rle_to_masks
from solq_model import postprocess

OUTPUT_TOLERANCE = 2e-5


def largest_difference(ours: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.abs(ours.numpy() - expected).max())


def test_outputs_of_two_images_in_one_padded_batch_equal_the_published_ones(model, published):
    with torch.no_grad():
        predictions = model(published.images())
    first = predictions.auxiliary[0]
    assert (
        largest_difference(predictions.logits[:, ::12], published.array("pred_logits"))
        < OUTPUT_TOLERANCE
    )
    assert largest_difference(predictions.boxes, published.array("pred_boxes")) < OUTPUT_TOLERANCE
    if predictions.spatial_masks is None:
        masks, expected = predictions.mask_vectors[:, ::12], published.array("pred_vectors")
    else:
        queries = torch.arange(0, 300, 12)
        masks = torch.stack([predictions.spatial_masks.best(i, queries).logits for i in (0, 1)])
        expected = published.array("pred_masks")
    assert largest_difference(masks, expected) < OUTPUT_TOLERANCE
    assert (
        largest_difference(first.logits[:, ::12], published.array("aux0_logits")) < OUTPUT_TOLERANCE
    )
    assert largest_difference(first.boxes, published.array("aux0_boxes")) < OUTPUT_TOLERANCE
    assert len(predictions.auxiliary) == 5


def test_results_equal_the_published_ones(model, published):
    with torch.no_grad():
        predictions = model(published.images())
    sizes = [tuple(size) for size in published.numbers["output_sizes"]]
    results = postprocess(predictions, sizes, model.codec)
    for index, result in enumerate(results):
        scores = published.array(f"result{index}_scores")
        assert largest_difference(result.scores, scores) < OUTPUT_TOLERANCE
        # Where neighbours' scores are equal within rounding their order is a matter of chance.
        gaps = np.abs(np.diff(scores, prepend=2, append=-1))
        certain = np.flatnonzero((gaps[:-1] > 1e-6) & (gaps[1:] > 1e-6))
        assert len(certain) > 0.8 * len(scores)
        found = result.select(torch.from_numpy(certain))
        assert found.labels.tolist() == published.array(f"result{index}_labels")[certain].tolist()
        boxes = published.array(f"result{index}_boxes")[certain]
        assert largest_difference(found.boxes, boxes) < 1e-2
        stored = published.numbers["result_masks_rle"][index]
        first = [i for i in certain if i < len(stored)]
        ours = result.select(torch.tensor(first)).rle()
        different = rle_to_masks(ours) != rle_to_masks([stored[i] for i in first])
        assert different.mean(axis=(1, 2)).max() <= 1e-4


def test_an_image_gives_the_same_result_alone_and_in_a_batch_that_is_invariant(model, published):
    images = published.images()
    with torch.no_grad():
        together = model(images, batch_invariant=True)
        alone = model(images[1:])
    torch.testing.assert_close(
        together.logits[1:].sigmoid(), alone.logits.sigmoid(), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(together.boxes[1:], alone.boxes, atol=1e-4, rtol=0)
    if alone.spatial_masks is None:
        torch.testing.assert_close(
            together.mask_vectors[1:], alone.mask_vectors, atol=1e-4, rtol=1e-4
        )
    else:
        queries = torch.arange(0, 300, 12)
        masks = together.spatial_masks.best(1, queries), alone.spatial_masks.best(0, queries)
        torch.testing.assert_close(masks[0].logits, masks[1].logits, atol=1e-4, rtol=1e-4)
        assert torch.equal(masks[0].image_padding, masks[1].image_padding)
