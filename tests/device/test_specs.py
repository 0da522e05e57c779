import pytest
from act.device.specs import ADRENO_SPECS


def test_the_measured_640_is_as_published():
    spec = ADRENO_SPECS["adreno640"]
    assert (spec.peak_gflops, spec.dram_gbps, spec.clock_mhz, spec.compute_units) == (890.0, 30.0, 585, 2)
    assert "measured" in spec.sources


@pytest.mark.parametrize("spec", ADRENO_SPECS.values(), ids=lambda spec: spec.name)
def test_figures_are_plausible(spec):
    assert spec.name.startswith("adreno")
    assert 200 < spec.peak_gflops < 3000
    assert spec.dram_gbps < spec.l2_gbps
    assert spec.max_work_group_size == 1024


def test_table_cannot_be_changed():
    with pytest.raises(TypeError):
        ADRENO_SPECS["adreno640"] = ADRENO_SPECS["adreno650"]
