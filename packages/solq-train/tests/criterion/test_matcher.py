"""Each object gets the query that fits it best."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from solq_train.criterion import HungarianMatcher

LEFT = (0.25, 0.5, 0.2, 0.4)
RIGHT = (0.75, 0.5, 0.2, 0.4)


def sure_of(*classes: int) -> torch.Tensor:
    """Logits `[1, queries, 3]` of queries that are sure of these classes."""
    logits = torch.full((1, len(classes), 3), -4.0)
    for query, label in enumerate(classes):
        logits[0, query, label] = 4.0
    return logits


def pairs(matches) -> list[tuple[int, int, int]]:
    columns = (matches.images.tolist(), matches.queries.tolist(), matches.objects.tolist())
    return list(zip(*columns, strict=True))


def cost_by_hand(logits: list[float], box, label: int, target) -> float:
    """2 focal + 5 L1 - 2 GIoU, of one query and one object."""
    p = 1 / (1 + math.exp(-logits[label]))
    focal = 0.25 * (1 - p) ** 2 * -math.log(p) - 0.75 * p**2 * -math.log(1 - p)
    (x, y, w, h), (u, v, a, b) = box, target
    left, right = max(x - w / 2, u - a / 2), min(x + w / 2, u + a / 2)
    top, bottom = max(y - h / 2, v - b / 2), min(y + h / 2, v + b / 2)
    overlap = max(right - left, 0) * max(bottom - top, 0)
    union = w * h + a * b - overlap
    hull_width = max(x + w / 2, u + a / 2) - min(x - w / 2, u - a / 2)
    hull = hull_width * (max(y + h / 2, v + b / 2) - min(y - h / 2, v - b / 2))
    giou = overlap / union - (hull - union) / hull
    l1 = sum(abs(p - q) for p, q in zip(box, target, strict=True))
    return 2 * focal + 5 * l1 - 2 * giou


def test_queries_of_one_class_are_told_apart_by_their_boxes(make_targets):
    targets = make_targets([[1, 1]], [RIGHT, LEFT])
    boxes = torch.tensor([[LEFT, RIGHT]])
    found = HungarianMatcher()(sure_of(1, 1), boxes, targets.labels, targets)
    assert pairs(found) == [(0, 0, 1), (0, 1, 0)]


def test_queries_with_one_box_are_told_apart_by_their_classes(make_targets):
    targets = make_targets([[2, 0]], [LEFT, LEFT])
    found = HungarianMatcher()(
        sure_of(0, 1, 2), torch.tensor([[LEFT] * 3]), targets.labels, targets
    )
    assert pairs(found) == [(0, 0, 1), (0, 2, 0)]


@pytest.mark.parametrize("seed", range(8))
def test_no_other_assignment_is_cheaper(random_targets, random_predictions, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = random_targets(generator, (3,))
    predictions = random_predictions(generator, 1, 4)
    found = HungarianMatcher()(predictions.logits, predictions.boxes, targets.labels, targets)
    costs = [
        [
            cost_by_hand(logits, box, label, target)
            for label, target in zip(targets.labels.tolist(), targets.boxes.tolist(), strict=True)
        ]
        for logits, box in zip(
            predictions.logits[0].tolist(), predictions.boxes[0].tolist(), strict=True
        )
    ]
    cheapest = min(
        sum(costs[query][item] for item, query in enumerate(chosen))
        for chosen in permutations(range(4), 3)
    )
    assert sum(costs[q][o] for _, q, o in pairs(found)) == pytest.approx(cheapest, rel=1e-5)


def test_objects_are_counted_over_the_batch_and_empty_images_have_no_pair(make_targets):
    targets = make_targets([[1], [], [0, 1]], [LEFT, LEFT, RIGHT])
    logits = sure_of(1, 0).expand(3, -1, -1)
    boxes = torch.tensor([LEFT, LEFT]).expand(3, -1, -1)
    found = HungarianMatcher()(logits, boxes, targets.labels, targets)
    assert pairs(found) == [(0, 0, 0), (2, 0, 2), (2, 1, 1)]


def test_a_batch_without_objects_has_no_pairs(make_targets):
    targets = make_targets([[], []], [])
    found = HungarianMatcher()(
        torch.zeros(2, 4, 3), torch.full((2, 4, 4), 0.5), targets.labels, targets
    )
    assert pairs(found) == []
    assert found.images.dtype == found.queries.dtype == found.objects.dtype == torch.int64


def test_with_more_objects_than_queries_each_query_has_an_object_of_its_own(make_targets):
    boxes = [(0.1 + 0.2 * i, 0.5, 0.1, 0.1) for i in range(5)]
    targets = make_targets([[0] * 5], boxes)
    found = HungarianMatcher()(
        sure_of(0, 0), torch.tensor([[boxes[3], boxes[1]]]), targets.labels, targets
    )
    assert pairs(found) == [(0, 0, 3), (0, 1, 1)]


def test_labels_given_replace_those_of_the_targets(make_targets):
    targets = make_targets([[2]], [LEFT])
    logits, boxes = sure_of(0, 2), torch.tensor([[LEFT, LEFT]])
    assert pairs(HungarianMatcher()(logits, boxes, targets.labels, targets)) == [(0, 1, 0)]
    agnostic = torch.zeros_like(targets.labels)
    assert pairs(HungarianMatcher()(logits, boxes, agnostic, targets)) == [(0, 0, 0)]


def test_the_weights_decide_what_counts(make_targets):
    targets = make_targets([[1]], [LEFT])
    logits, boxes = sure_of(1, 0), torch.tensor([[RIGHT, LEFT]])
    by_class = HungarianMatcher(class_cost=1.0, box_l1_cost=0.0, giou_cost=0.0)
    by_box = HungarianMatcher(class_cost=0.0, box_l1_cost=0.0, giou_cost=1.0)
    assert pairs(by_class(logits, boxes, targets.labels, targets)) == [(0, 0, 0)]
    assert pairs(by_box(logits, boxes, targets.labels, targets)) == [(0, 1, 0)]


def test_predictions_that_are_no_numbers_are_matched_for_the_engine_to_report(make_targets):
    targets = make_targets([[1]], [LEFT])
    logits, boxes = sure_of(1, 1), torch.tensor([[LEFT, LEFT]])
    logits[0, 0], boxes[0, 0] = math.nan, math.inf
    assert pairs(HungarianMatcher()(logits, boxes, targets.labels, targets)) == [(0, 1, 0)]
    nothing = torch.full_like(logits, math.nan)
    assert len(pairs(HungarianMatcher()(nothing, boxes, targets.labels, targets))) == 1
