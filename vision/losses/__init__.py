"""Losses of classification: settings, formulas, margin heads, metric learning, distillation; and the formulas of
detection heads with unequal classes (`imbalance`).

Pure formulas: what has to agree over ranks is passed in as a function. `vision.losses.build.build_loss` is the door.
"""
