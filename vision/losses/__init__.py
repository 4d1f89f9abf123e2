"""Losses of classification: settings, formulas, margin heads, metric learning, distillation.

Pure formulas: what has to agree over ranks is passed in as a function. `vision.losses.build.build_loss` is the door.
"""
