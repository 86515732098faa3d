"""Where a run's figures and pictures go besides its folder: one module per program, all with the same few methods."""
