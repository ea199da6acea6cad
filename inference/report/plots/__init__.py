"""Pictures that only a report has, as PNG files; the others are drawn by :mod:`inference.plots`."""
