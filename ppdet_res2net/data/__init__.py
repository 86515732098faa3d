"""What training and evaluation read: annotations, images, and batches made of them."""
