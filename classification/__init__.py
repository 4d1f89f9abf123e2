"""Classification: one label per image. Settings, data, models, metrics, reports and predictors."""
