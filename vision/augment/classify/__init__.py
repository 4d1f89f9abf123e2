"""Augmentation of labelled images, uint8: crop, flip, affine, policies, colour, noise, erasing, mixing. No torch.

The settings and presets load no image library.
"""
