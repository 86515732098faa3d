"""Detection: models, training, evaluation, prediction and export."""
