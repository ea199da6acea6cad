"""Checks that a part of one's own must pass, for tests: what they check is in :mod:`pyro_lvm.testing.suite`.

``check_prior``, ``check_encoder``, ``check_likelihood`` and ``check_pair`` raise an AssertionError that names what is wrong and the remedy.
"""

from pyro_lvm.testing.suite import check_encoder, check_likelihood, check_prior
from pyro_lvm.testing.whole import check_pair

__all__ = ["check_encoder", "check_likelihood", "check_pair", "check_prior"]
