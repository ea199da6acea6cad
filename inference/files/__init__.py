"""Files and folders that are replaced completely or not at all, and only where they hold nothing but what was written here."""

from inference.files.writing import replacing_file, write_yaml

__all__ = ["replacing_file", "write_yaml"]
