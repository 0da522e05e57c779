import pytest
from act.compiler.codegen.vector_text import tidy_vectors

TERMS = "(int4)(((a + (b*2)))+(1*0), ((a + (b*2)))+(1*1), ((a + (b*2)))+(1*2), ((a + (b*2)))+(1*3))"
GATHER = "((float4)(p_ptr[v_.s0],p_ptr[v_.s1],p_ptr[v_.s2],p_ptr[v_.s3]))"


def test_broadcasts_are_written_once():
    source = "x = ((float4)(w[(i + 1)], w[(i + 1)], w[(i + 1)], w[(i + 1)])) * y;"
    assert tidy_vectors(source, loads=False) == "x = ((float4)(w[(i + 1)])) * y;"


def test_different_elements_stay():
    source = "x = (float2)(a[0], a[1]);"
    assert tidy_vectors(source, loads=True) == source


def test_neighbours_become_a_vector_load():
    tidied = tidy_vectors(f"int4 v_ = {TERMS};\nx = {GATHER};", loads=True)
    assert tidied == "int v_ = (a + (b*2));\nx = (vload4(0, p_ptr + v_));"


def test_long_indices_too():
    terms = ", ".join(f"(a)+((long)1*{lane})" for lane in range(2))
    source = f"long2 v = (long2)({terms});\nx = (float2)(p[v.s0],p[v.s1]);"
    assert tidy_vectors(source, loads=True) == "long v = a;\nx = vload2(0, p + v);"


@pytest.mark.parametrize("source", [f"int4 v_ = {TERMS.replace('1*', '2*')};\nx = {GATHER};", "int i = 3;", ""])
def test_strided_indices_and_other_text_stay(source):
    assert tidy_vectors(source, loads=True) == source


def test_loads_stay_unless_asked():
    source = f"int4 v_ = {TERMS};\nx = {GATHER};"
    assert tidy_vectors(source, loads=False) == source


def test_unbalanced_text_is_an_error():
    with pytest.raises(ValueError, match="unbalanced"):
        tidy_vectors("(float4)(a, b", loads=False)
