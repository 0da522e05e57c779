"""Does TVM work here? Tried in a child process, because a wrong FFI version ends in a segmentation fault.

With `apache-tvm-ffi` 0.1.15, TVM 0.27 crashes in `ConvertLayout` instead of raising: the check does what crashes then,
and generates OpenCL code for a small kernel, which needs the code generator in the wheel.
"""

from __future__ import annotations

import signal
import subprocess
import sys

__all__ = ["check_tvm"]

TIMEOUT_S = 120.0
FIX = "install the versions that were tested: pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post0"
SUCCESS = "tvm works"

SMOKE_TEST = f"""
import tvm
from tvm import relax, s_tir, te, tirx

builder = relax.BlockBuilder()
x = relax.Var("x", relax.TensorType((1, 4, 8, 8), "float32"))
w = relax.Var("w", relax.TensorType((4, 4, 3, 3), "float32"))
with builder.function("main", [x, w]):
    with builder.dataflow():
        y = builder.emit_output(builder.emit(relax.op.nn.conv2d(x, w, padding=(1, 1))))
    builder.emit_func_output(y)
relax.transform.ConvertLayout({{"relax.nn.conv2d": ["NCHW4c", "OIHW4o"]}})(builder.get())

a = te.placeholder((64,), "float32", name="a")
b = te.compute((64,), lambda i: a[i] + 1.0, name="b")
schedule = s_tir.Schedule(te.create_prim_func([a, b]).with_attr("global_symbol", "add_one"))
outer, inner = schedule.split(schedule.get_loops(schedule.get_sblock("b"))[0], [None, 64])
schedule.bind(outer, "blockIdx.x")
schedule.bind(inner, "threadIdx.x")
tirx.build(schedule.mod, target=tvm.target.Target("qcom/adreno-opencl", host="llvm"))
print("{SUCCESS}")
"""


def check_tvm(python: str = sys.executable) -> str | None:
    """Import TVM in a child process, convert a layout and generate one OpenCL kernel.

    Args:
        python: Interpreter to try.

    Returns:
        None if that works, else what went wrong and what to install.
    """
    try:
        run = subprocess.run([python, "-c", SMOKE_TEST], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"TVM did not finish a small test within {TIMEOUT_S:.0f} s; {FIX}"
    except OSError as error:
        return f"cannot start {python!r} to try TVM: {error}"
    if run.returncode == 0 and SUCCESS in run.stdout:
        return None
    return f"TVM {_failure(run.returncode, run.stderr)}; {FIX}"


def _failure(code: int, stderr: str) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"ended with {name} in a small test (as it does with a version of apache-tvm-ffi that does not fit)"
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    return f"failed a small test: {lines[-1] if lines else f'exit code {code}'}"
