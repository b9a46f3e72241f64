"""The doctor: notices the failures of GAN training, names them with evidence, and offers remedies."""
