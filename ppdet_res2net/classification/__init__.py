"""Classifiers: loading, training, evaluation, prediction and export."""
