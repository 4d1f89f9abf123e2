"""Hyperparameter search: what is searched, how trials are chosen, run and stopped, and the sweep's memory on disk."""
