"""What a run becomes on a hub: weights, recipe and model card."""
