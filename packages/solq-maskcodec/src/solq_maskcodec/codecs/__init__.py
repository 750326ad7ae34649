"""Masks → vectors → masks: DCT, principal components, outlines."""
