"""A trained generator applied to images: tensors, pictures, and files by the folder."""

from sparring.apply.images import Applied, apply_image, beside
from sparring.apply.tensors import apply_stored, apply_tensor

__all__ = ["Applied", "apply_image", "apply_stored", "apply_tensor", "beside"]
