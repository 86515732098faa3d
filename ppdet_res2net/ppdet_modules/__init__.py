"""Our classes under the names that PaddleDetection's YAML uses, and ppdet's registry, which creates them."""
