"""Tables as they are: files read by pandas, kinds found for their columns, and their cells as numbers and back."""
