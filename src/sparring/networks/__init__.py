"""Networks: plain torch modules.

`shape` is (channels, height, width) of images with values in [-1, 1], or (dimensions,) of points. A recipe sets only
the options; shapes and the number of classes come from the data.

- A generator, `Generator(latent_size, shape, **options)`: latents [n, latent_size] -> samples [n, *shape].
- An image-to-image generator (`ImageGenerator`), `Generator(source_shape, target_shape, **options)`: sources
  [n, C, h, w] of any size -> raw maps [n, C', scale * h, scale * w]; the task applies tanh or softmax.
- A discriminator, `Discriminator(shape, **options)`: samples [n, *shape] -> logits [n].
- `PatchDiscriminator(shape, **options)`: images [n, C, H, W], and sources if it has `source_channels` -> logits [n, P],
  one for each patch.

Options that several networks share:

- `width`: channels of the maps at the image's size; they double with each halving of the size, up to `most`.
- `classes`: number of classes of labelled samples; 0: no labels.
- `spectral_norm`: divides each weight by its largest singular value (Miyato et al. 2018).
- `deviation`: group size of the minibatch standard deviation, which detects mode collapse; 0: none.
- `attention`: smaller side of the maps that get self-attention; the nearest size is taken; 0: none.

A network raises UserError if an option is out of range or the shape does not fit. Convolutional networks need images of
at least 8x8.
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
