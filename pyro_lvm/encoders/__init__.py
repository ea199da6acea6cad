"""Guides q(z|x): modules that map data ``[*lead, *X]`` to a distribution with batch shape ``[*lead]``.

In a hierarchy, their networks also take the state h of the levels above, and they also serve as p(z|h).
"""
