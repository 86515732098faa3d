"""Images with one label each: where they come from, how they are augmented and mixed."""
