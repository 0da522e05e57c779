import pytest
from act.toolchain.extras import MissingExtraError, require


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    with pytest.raises(
        MissingExtraError, match=r"the tea needs the package no_such_kettle: pip install 'act-compress\[tea\]'"
    ):
        require("no_such_kettle", extra="tea", what="the tea")


def test_a_present_package_is_let_through() -> None:
    require("numpy", extra="tea", what="the tea")
