"""Rows of data that stay where they are and in the dtype that they have: values as they are kept, and tensors that read them when needed.

``values`` knows rows by number, in memory or computed from others; ``stored`` reads them from files; ``noise`` draws what was drawn for them once; ``lazy`` makes tensors of them.
"""
