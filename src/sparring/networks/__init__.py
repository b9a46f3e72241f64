"""Networks: plain torch modules.

A generator is built as `Generator(latent_size, shape, **options)` and maps latents [n, latent_size] to samples
[n, *shape]; a discriminator as `Discriminator(shape, **options)` maps samples to logits [n]. A recipe names the options
only. `shape` is (channels, height, width) of images, which span [-1, 1], or (dimensions,) of points.

A generator of images from images (an `ImageGenerator`) is built as `Generator(source_shape, target_shape, **options)`
and maps sources [n, C, h, w] of any size to raw maps [n, C', scale * h, scale * w], which the task finishes. A
`PatchDiscriminator` may be given `source_channels`, and gives logits [n, P], one for each patch.

Options of several: `width` is the channels at the image's size, doubled with each halving, up to `most`. `classes` is
the number of classes of labelled samples (0: no labels). `spectral_norm` divides weights by their largest singular
values (Miyato et al. 2018). `deviation` shows a discriminator how much each group of that many samples differs (0:
not). `attention` is the smaller side of the maps that get self-attention, or the nearest to it (0: none). UserError is
raised where an option is out of range or a shape is none of the network's; convolutional ones take 8x8 and up.
"""

from sparring.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from sparring.networks.gated import GatedGenerator
from sparring.networks.mlp import MLPDiscriminator, MLPGenerator
from sparring.networks.patch import PatchDiscriminator
from sparring.networks.r3gan import R3GANDiscriminator, R3GANGenerator
from sparring.networks.resnet import ResNetDiscriminator, ResNetGenerator
from sparring.networks.superres import EDSRGenerator, RRDBGenerator
from sparring.networks.translator import ResNetTranslator
from sparring.networks.unet import UNetGenerator

__all__ = [
    "DCGANDiscriminator",
    "DCGANGenerator",
    "EDSRGenerator",
    "GatedGenerator",
    "MLPDiscriminator",
    "MLPGenerator",
    "PatchDiscriminator",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "RRDBGenerator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "ResNetTranslator",
    "UNetGenerator",
]
