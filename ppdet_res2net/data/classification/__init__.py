"""Images with one label each: reading, augmenting and mixing them."""
