import pytest
import tvm
import tvm_ffi
from act.compiler.errors import CompileError, hear_interrupts
from tvm import te


def test_an_interrupt_while_tvm_calls_python_is_heard():
    x = te.placeholder((4,), name="x")
    function = te.create_prim_func([x, te.compute((4,), lambda i: x[i] + 1, name="y")])

    def interrupted(variable):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), hear_interrupts():
        tvm_ffi.structural_map(function, (tvm.ir.Var, interrupted))


@pytest.mark.parametrize("error", [CompileError(), RuntimeError("an error of TVM"), ValueError()])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as found, hear_interrupts():
        raise error
    assert found.value is error
