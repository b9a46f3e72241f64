"""Extractors: components that turn samples into the features that metrics compare."""

from sparring.metrics.extractors.base import Extractor as Extractor
from sparring.metrics.extractors.base import Features as Features
from sparring.metrics.extractors.base import Prepared as Prepared
from sparring.metrics.extractors.classifier import Classifier
from sparring.metrics.extractors.inception import Inception
from sparring.metrics.extractors.plain import Pixels, Random
from sparring.metrics.extractors.transformers import CLIP, DINOv2

__all__ = ["CLIP", "Classifier", "DINOv2", "Inception", "Pixels", "Random"]  # names allowed in a component text
