"""A bench of known likelihoods: pairs whose log p(x) is known for every datum, with good guides and bad ones.

``registry``: what an entry is. ``entries`` and the files that it joins: the entries. ``integrals`` and ``published``: what they are
known from. ``estimators``: the estimators of this library. ``verdicts``: what an evaluation says of the data, beside the truth.
"""
