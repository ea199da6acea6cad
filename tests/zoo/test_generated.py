"""Generated pairs are scored as the plain scorer scores them."""

from hypothesis import HealthCheck, Phase, given, settings
import pytest

from zoo.grammar import programs
from zoo.torture import check

pytestmark = pytest.mark.usefixtures("double")


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(programs())
def test_a_generated_pair_is_scored_as_by_loops(program):
    check(program)
