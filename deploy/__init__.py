"""From a bundle to answers."""
