"""Cropping, augmenting and staining of images."""
