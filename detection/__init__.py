"""The detection task: models, losses, metrics and data of box detectors."""
