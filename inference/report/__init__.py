"""A report of runs: tables, plots and a verdict on one page of HTML."""
