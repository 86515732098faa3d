"""Tools for your own datasets: check, convert and browse them; and small datasets to try things with."""
