"""Cases that show once more, of another kind, what one kind shows: `make test-all` runs them too."""

import pytest


def another(*values):
    """Returns values of a parametrised test that `make test` leaves out."""
    return pytest.param(*values, marks=pytest.mark.every_kind)
