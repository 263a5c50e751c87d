"""What a person writes becomes a value of the right type, or one clear line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftune.errors import BadInput
from hftune.settings.types import parse_overrides

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def test_overrides_have_the_types_they_are_written_in():
    text = 'hidden=128, scale=1e-3,tied=True,drop=none,act=gelu_new,sizes=[3,4,[5]],name="a,b=c"'
    assert parse_overrides(text) == {
        "hidden": 128,
        "scale": 1e-3,
        "tied": True,
        "drop": None,
        "act": "gelu_new",
        "sizes": [3, 4, [5]],
        "name": "a,b=c",
    }
    assert parse_overrides("") == {}


@given(st.dictionaries(st.from_regex("[a-z_]{1,8}", fullmatch=True), VALUES, max_size=4))
def test_overrides_read_what_json_writes(values: dict[str, Any]):
    assert parse_overrides(json.dumps(values)) == values
    listed = ",".join(f"{name}={json.dumps(value)}" for name, value in values.items())
    assert parse_overrides(listed) == values


@pytest.mark.parametrize("text", ["a", "=1", "a=", "a=1,", "a=1,,b=2", "a=[1,2", "a b=1", '{"a": 1'])
def test_malformed_overrides_are_refused(text: str):
    with pytest.raises(BadInput, match=r"--config_overrides"):
        parse_overrides(text)
