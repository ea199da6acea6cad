"""The published data sets: their names, values, splits and labels."""
