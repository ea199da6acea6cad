"""Data that several tests fit pairs to."""

from oracles import LinearGaussian
import pytest


@pytest.fixture
def x():
    return LinearGaussian(4, 2, seed=3).sample(600)
