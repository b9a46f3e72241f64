"""Metrics: an extractor that turns samples into features, and a pure function of two sets of features."""

from sparring.metrics.colour import colour_distance, luminance
from sparring.metrics.distribution import (
    Estimate,
    agreement,
    class_frechet,
    cmmd,
    frechet,
    frechet_infinity,
    inception_score,
    kernel_distance,
    mmd,
    sliced_wasserstein,
    wasserstein,
)
from sparring.metrics.modes import Bins, ClassModes, ModeCount, class_modes, count_modes, different_bins
from sparring.metrics.neighbours import (
    Memorising,
    Support,
    birthday,
    density_coverage,
    memorising,
    nearest,
    precision_recall,
    usual_distances,
)
from sparring.metrics.paired import cut_border, l1, maps_distance, perceptual, perceptual_maps, psnr, ssim
from sparring.metrics.ranking import CriticGap, critic_gap
from sparring.metrics.segmentation import accuracy_of, class_iou, confusion, iou_of, mean_iou, pixel_accuracy
from sparring.metrics.smoothness import path_length, slerp

__all__ = [
    "Bins",
    "ClassModes",
    "CriticGap",
    "Estimate",
    "Memorising",
    "ModeCount",
    "Support",
    "accuracy_of",
    "agreement",
    "birthday",
    "class_frechet",
    "class_iou",
    "class_modes",
    "cmmd",
    "colour_distance",
    "confusion",
    "count_modes",
    "critic_gap",
    "cut_border",
    "density_coverage",
    "different_bins",
    "frechet",
    "frechet_infinity",
    "inception_score",
    "iou_of",
    "kernel_distance",
    "l1",
    "luminance",
    "maps_distance",
    "mean_iou",
    "memorising",
    "mmd",
    "nearest",
    "path_length",
    "perceptual",
    "perceptual_maps",
    "pixel_accuracy",
    "precision_recall",
    "psnr",
    "slerp",
    "sliced_wasserstein",
    "ssim",
    "usual_distances",
    "wasserstein",
]
