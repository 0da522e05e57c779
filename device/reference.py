"""A small fixed package of each backend, timed before and after every candidate: a change is the device's doing.

It is arithmetic, 34 million multiply-additions in chains that no compiler shortens, because that is what a lower clock
slows down: at the peak rate of an Adreno 640 it takes 0.08 ms, on a processor some milliseconds. Its times say how fast
the device is now; ``quality.py`` says what is made of them.
"""

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .cache import cache_folder
from .package_format import Buffer, Kernel, Package, Step, write_package

ITEMS: Final = 16384
_INPUTS: Final = 256
_CHAIN: Final = 512
_OPENCL: Final = """
__kernel void reference(__global const float4 *restrict x, __global float *restrict y) {
  int i = get_global_id(0);
  float4 v = x[i & 255];
  for (int k = 0; k < 512; ++k) v = v * 0.999f + 0.001f;
  y[i] = v.x + v.y + v.z + v.w;
}
"""
GLSL: Final = """#version 450
layout(local_size_x = 64) in;
layout(std430, set = 0, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Y { float y[]; };
void main() {
  uint i = gl_GlobalInvocationID.x;
  vec4 v = x[i & 255u];
  for (int k = 0; k < 512; ++k) v = v * 0.999 + 0.001;
  y[i] = v.x + v.y + v.z + v.w;
}
"""
"""What ``_SPIRV`` was compiled from; here, because only the compiler's layer has a compiler of it."""
_SPIRV: Final = """
eNptk9tOU1EQhhfdPWlFWnqgRQuFtqiApUJLEdrSIlKQXpj4BCbeeKFeaOKlGu99F1/AW9/IqInRmbW/TSaNTVbXnn/m/9cc1gpi9ZQL5lzGpd3Uhb+c
i7k52TMu6ffJ9Nm09fbdi1an21b/TRf4OPUtSExC9risV89fvnae51xW8LjXcm5ErNcSNEPMbeyC7EnPce5c7CJ5lL2duLLr7BM5X7EY/CXZ1698ob1m
7A76cfS7+Crod/+j3zX6vRn9HvpRPZfUo3p5YcW8P/Bd0u+ixOj5NTRqYqdkT5HXktjX+A7wX0df8SPsDNgWejeM3jw+xUuikuU81c7R2zixi5yteFVi
C3yv0NcCcSXOKJJDyetFWNzPp2ZyKtMDZ3K8JesvelW4OewaeZQN/64Lm1aQv3vgmvu2rPffPhxHdkvWm8XPhxFvlzy0ng71rjDHDuftc36XetTugan/
IflkTf79mZ6PmGlkn5qZnaNl+U/gbIuls7wE67P25f7FmI1D66cgCXLUfNLkdcTs8saucRfVHgtr3r/P8K5oLgPyWAAfyglp7Mi3zBnfhZ/kXS4zu7Eg
Vd/LcPYV/APu1So+1c1j6/casb+klnVq0v2H8BqyN6lX/Rv4N9DVed6hrq+Sk96DTTC9H78lZpP32oBbNzlt0aMvwlX7PpjeoafSKcV2uEN2fSK+DWfH
1NUm1ybnNU2uD8j1o/DV3gPbNb3Ym+lFw/T/gP7r/PQOHpJ/NL+sn3WIRzEDYvomZgiudah9DG9oeGN4I8M7AY94j+CeGN5jeKeGdwYe8SZwz7g3+h4u
eGMV6tR+XBD7R17Wgax/SlZNng==
"""


def reference_name(backend: str) -> str:
    """The package's name, which changes with its content, so that times of different references never meet."""
    content = repr((_OPENCL if backend == "opencl" else _SPIRV, ITEMS, _CHAIN)).encode()
    return f"reference-{backend}-{hashlib.sha256(content).hexdigest()[:8]}"


def reference_package(backend: str) -> Path:
    """The package's file in the user's cache folder, written where it is not there yet.

    Raises:
        OSError: If it cannot be written.
    """
    path = cache_folder() / f"{reference_name(backend)}.actpkg"
    if not path.is_file():
        write_package(path, _make(backend))
    return path


def _make(backend: str) -> Package:
    x = np.linspace(-1, 1, 4 * _INPUTS, dtype=np.float32).reshape(1, _INPUTS, 4)
    shapes = {"input": x.shape, "output": (1, ITEMS)}
    offsets = {"input": 0, "output": 8192}
    return Package(
        target=f"host-{backend}",
        backend=backend,
        arena_bytes=8192 + 4 * ITEMS,
        buffers=tuple(
            Buffer(
                name=role,
                role=role,
                dtype="float32",
                shape=shapes[role],
                offset=offsets[role],
                size_bytes=4 * int(np.prod(shapes[role])),
            )
            for role in ("input", "output")
        ),
        kernels=(Kernel(name="reference", source=_OPENCL if backend == "opencl" else _spirv()),),
        steps=(Step(kernel=0, arguments=(0, 1), global_size=(ITEMS, 1, 1), local_size=(64, 1, 1)),),
        weights=b"",
        inputs=(0,),
        outputs=(1,),
        verification_input=x,
        verification_output=_expected(x),
        metadata={"network": "reference"},
    )


def _spirv() -> bytes:
    return zlib.decompress(base64.b64decode(_SPIRV))


def _expected(x: NDArray[np.float32]) -> NDArray[np.float32]:
    values = x[0]
    for _ in range(_CHAIN):
        values = values * np.float32(0.999) + np.float32(0.001)
    return np.tile(values.sum(axis=1, dtype=np.float32), ITEMS // _INPUTS)[None]
