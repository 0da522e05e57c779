import pytest
from act.compiler.codegen.vector_text import tidy_vectors

TERMS = "(int4)(((a + (b*2)))+(1*0), ((a + (b*2)))+(1*1), ((a + (b*2)))+(1*2), ((a + (b*2)))+(1*3))"
GATHER = "((float4)(p_ptr[v_.s0],p_ptr[v_.s1],p_ptr[v_.s2],p_ptr[v_.s3]))"


def test_broadcasts_are_written_once():
    source = "x = ((float4)(w[(i + 1)], w[(i + 1)], w[(i + 1)], w[(i + 1)])) * y;"
    assert tidy_vectors(source, calls=False) == "x = ((float4)(w[(i + 1)])) * y;"


def test_different_elements_stay():
    source = "x = (float2)(a[0], a[1]);"
    assert tidy_vectors(source, calls=True) == source


def test_neighbours_become_a_vector_load():
    tidied = tidy_vectors(f"int4 v_ = {TERMS};\nx = {GATHER};", calls=True)
    assert tidied == "int v_ = (a + (b*2));\nx = (vload4(0, p_ptr + v_));"


def test_long_indices_too():
    terms = ", ".join(f"(a)+((long)1*{lane})" for lane in range(2))
    source = f"long2 v = (long2)({terms});\nx = (float2)(p[v.s0],p[v.s1]);"
    assert tidy_vectors(source, calls=True) == "long v = a;\nx = vload2(0, p + v);"


def test_every_second_element_comes_out_of_two_vectors_that_end_with_the_last_one():
    tidied = tidy_vectors(f"int4 v_ = {TERMS.replace('1*', '2*')};\nx = {GATHER};", calls=True)
    halves = "vload4(0, p_ptr + v_).even, vload4(0, p_ptr + v_ + 3).odd"
    assert tidied == f"int v_ = (a + (b*2));\nx = ((float4)({halves}));"


@pytest.mark.parametrize("source", [f"int4 v_ = {TERMS.replace('1*', '3*')};\nx = {GATHER};", "int i = 3;", ""])
def test_other_steps_and_other_text_stay(source):
    assert tidy_vectors(source, calls=True) == source


def test_without_calls_loads_and_stores_go_through_unaligned_pointers():
    parameters = "(__global float* restrict p_ptr, __global int* restrict t) {\n"
    source = f"{parameters}__local float l[8];\nint4 v_ = {TERMS};\nvstore4({GATHER} * vload4(0, l + 4), 0, acc + (2));"
    head, *_, last = tidy_vectors(source, calls=False).splitlines()
    assert head == "typedef float4 act_float4 __attribute__((aligned(4)));"
    product = "((*(__global const act_float4 *)(p_ptr + v_))) * (*(__local const act_float4 *)(l + 4))"
    assert last == f"*(__private act_float4 *)(acc + (2)) = {product};"


def test_without_calls_the_larger_and_the_smaller_are_comparisons():
    source = "x = max(min(a, b), softmax(fmax(c, d)));"
    *macros, last = tidy_vectors(source, calls=False).splitlines()
    assert macros == [
        "#define act_max(a, b) ((a) < (b) ? (b) : (a))",
        "#define act_min(a, b) ((b) < (a) ? (b) : (a))",
    ]
    assert last == "x = act_max(act_min(a, b), softmax(fmax(c, d)));"
    assert tidy_vectors(source, calls=True) == source


def test_integers_keep_their_type():
    tidied = tidy_vectors("(__global int* restrict t) {\nint4 v = vload4(0, t + 1);", calls=False)
    assert tidied.splitlines()[0] == "typedef int4 act_int4 __attribute__((aligned(4)));"
    assert tidied.endswith("int4 v = (*(__global const act_int4 *)(t + 1));")


def test_half_floats_keep_their_calls():
    source = "x = vload_half8(0, p + 1); vstore_half8_rte(x, 0, q);"
    assert tidy_vectors(source, calls=False) == source


def test_unbalanced_text_is_an_error():
    with pytest.raises(ValueError, match="unbalanced"):
        tidy_vectors("(float4)(a, b", calls=False)
