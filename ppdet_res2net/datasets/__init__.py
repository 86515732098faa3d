"""Tools for people's datasets: check, convert, browse, and small datasets to try things with."""
