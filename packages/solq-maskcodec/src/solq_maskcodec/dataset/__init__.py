"""Annotation files → how much of their objects codecs keep."""
