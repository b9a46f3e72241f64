"""Networks: plain torch modules.

A generator is built as `Generator(latent_size, shape, **options)` and maps latents [n, latent_size] to samples
[n, *shape]; a discriminator as `Discriminator(shape, **options)` maps samples to logits [n]. A recipe names the options
only. `shape` is (channels, height, width) of images, which span [-1, 1], or (dimensions,) of points.
"""

from sparring.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from sparring.networks.mlp import MLPDiscriminator, MLPGenerator
from sparring.networks.r3gan import R3GANDiscriminator, R3GANGenerator
from sparring.networks.resnet import ResNetDiscriminator, ResNetGenerator

__all__ = [
    "DCGANDiscriminator",
    "DCGANGenerator",
    "MLPDiscriminator",
    "MLPGenerator",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "ResNetDiscriminator",
    "ResNetGenerator",
]
