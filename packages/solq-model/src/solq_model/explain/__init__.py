"""Explanations: where a query looks in an image, layer by layer, as numbers and as a picture."""

from solq_model.explain.explanation import Explanation as Explanation
from solq_model.explain.query import explain as explain
