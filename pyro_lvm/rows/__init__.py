"""Rows of data that stay where they are and in the dtype that they have until they are needed.

``values`` knows rows by number, in memory or computed from others; ``stored`` reads them from files; ``noise`` draws what was drawn for
them once; ``lazy`` makes tensors of them, and
``gathered`` keeps what loaders yield.
"""
