"""A zoo of pairs and a grammar of programs, all compared with a plain scorer of one particle and one datum at a time.

``noise``: draws of two values, so that a datum's log weights are a small set. ``reference``: that set by plain loops. ``comparison``: the
library against it. ``entries`` and the files that it joins: pairs in every style. ``grammar``: generated pairs. ``torture``: thousands.
"""
