"""Apply a trained generator to tensors, images and folders of image files."""

from sparring.apply.images import Applied, apply_image, comparison_picture
from sparring.apply.tensors import apply_stored, apply_tensor

__all__ = ["Applied", "apply_image", "apply_stored", "apply_tensor", "comparison_picture"]
