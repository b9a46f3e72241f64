"""Extractors: components that turn samples into the features that metrics compare."""

from sparring.extractors.base import Extractor as Extractor
from sparring.extractors.base import Prepared as Prepared
from sparring.extractors.base import Seen as Seen
from sparring.extractors.classifier import Classifier
from sparring.extractors.inception import Inception
from sparring.extractors.plain import Pixels, Random
from sparring.extractors.transformers import CLIP, DINOv2

__all__ = ["CLIP", "Classifier", "DINOv2", "Inception", "Pixels", "Random"]  # what a text may name
