"""Rows that a fitted pair has not seen: read as its data were, their missing cells filled in, and files of what is made of them."""
