"""Vision without training: boxes, images, data formats, augmentation, drawing, backbones."""
