import pytest
from act.toolchain.granularity import Column, Combined, Filter, GranularityError, granularity_from_name


def test_names_and_values():
    assert granularity_from_name("filter") == Filter()
    assert granularity_from_name("column") == Column()
    combined = granularity_from_name("combined")
    assert combined == Combined()
    assert combined.filters
    assert combined.columns
    assert not Column().filters


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(GranularityError, match=r"'colum'.*did you mean 'column'"):
        granularity_from_name("colum")
