"""Files and folders that are replaced completely or not at all, and only where they hold nothing but what was written here."""

from inference.files.writing import named_errors, replacing_file, write_yaml

__all__ = ["named_errors", "replacing_file", "write_yaml"]
