"""Training without vision: the loop, its runtimes, optimizers, schedules, checkpoints, bundles, catalog."""
