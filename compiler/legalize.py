"""Relax operators become our TIR: convolution, linear and pooling with the schedules' own definitions.

Each is built with ``te`` and marked by the annotation ``act.layer`` on its main block, an index into
`Legalizer.layers`, where shape, lowering and reason are kept. Operators not listed here get TVM's own definition and
the generic schedule. Operators that only change the shape stay Relax operators: `lower` makes them views.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te, topi

from .activation_layouts import VIEW_OPERATORS, ActivationLayouts, static_shape
from .errors import CompileError
from .latency_model import modelled_kernels
from .layer_shape import LayerShape
from .schedules.conv import ConvTask, column_conv, column_offsets, dense_conv, pack_weight
from .schedules.linear import LinearTile, choose_linear_tile, linear, pack_linear_weight
from .schedules.pool import PoolTask, pool
from .schedules.tile import Tile, choose_tile, is_gpu
from .select import Choice, choose_lowering
from .targets import Target
from .zero_columns import kept_columns

__all__ = ["LAYER_ANNOTATION", "Layer", "Legalizer", "weight_key"]

LAYER_ANNOTATION = "act.layer"
OUT_ELEMENTWISE_FUSABLE = 4  # TVM's pattern kind of a convolution: elementwise consumers join it

Kind = Literal["conv", "linear", "pool"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution, linear or pooling layer: which schedule, and what the report says of it."""

    kind: Kind
    shape: LayerShape
    choice: Choice
    tile: Tile | LinearTile | None = None
    batch: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the kernel does."""
        columns = self.shape.columns if self.choice.lowering == "column" else self.shape.dense_columns
        height, width = self.shape.output_hw
        return 0 if self.kind == "pool" else self.batch * self.shape.c_out * columns * height * width


@dataclass
class Legalizer:
    """Custom legalizations for one module; collects what it made in ``layers``.

    Attributes:
        target: What is compiled for.
        layouts: Of the activations.
        names: By `weight_key`, the source operators that have this weight, in order.
        inputs: Names of the network's inputs, which have no halo: a convolution reads a copy.
    """

    target: Target
    layouts: ActivationLayouts
    names: dict[str, list[str]]
    inputs: frozenset[str]
    layers: list[Layer] = field(default_factory=list)

    def table(self) -> dict[str, Callable[[relax.BlockBuilder, relax.Call], relax.Expr]]:
        """The map for ``LegalizeOps``."""
        return {
            "relax.nn.conv2d": self._conv,
            "relax.matmul": self._matmul,
            "relax.nn.max_pool2d": self._pool,
            "relax.nn.avg_pool2d": self._pool,
            "relax.nn.adaptive_avg_pool2d": self._adaptive_pool,
            "relax.nn.dropout": _dropout,
            **dict.fromkeys(VIEW_OPERATORS, _keep),
        }

    def _conv(self, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        data, weight = call.args[:2]
        attrs = call.attrs
        plain = attrs.data_layout == attrs.out_layout == "NCHW" and attrs.kernel_layout == "OIHW"
        if not isinstance(weight, tvm.ir.GenericConst) or not plain or str(data.ty.dtype) != "float32":
            return _default(builder, call)
        values = weight.value.numpy()
        shape = self._conv_shape(call, values)
        choice = choose_lowering(shape, self.target)
        batch = int(data.ty.shape[0])
        tile = choose_tile(shape.c_out, shape.output_hw, batch, self.target)
        padding = (int(attrs.padding[0]), int(attrs.padding[1]))
        task = ConvTask(shape=shape, tile=tile, padding=padding, batch=batch)
        layer = Layer(kind="conv", shape=shape, choice=choice, tile=tile, batch=batch)
        if isinstance(data, relax.Var) and data.name in self.inputs:
            data = builder.emit(_call_te(builder, _copy, [data], "copy"))
        return self._emit_conv(builder, data, values, task, layer)

    def _emit_conv(
        self,
        builder: relax.BlockBuilder,
        data: relax.Expr,
        values: npt.NDArray[np.float32],
        task: ConvTask,
        layer: Layer,
    ) -> relax.Expr:
        matrix, attrs = values.reshape(values.shape[0], -1), self._add(layer)
        if layer.choice.lowering == "dense" and not self._reads_table(task.shape):
            return _call_te(
                builder,
                lambda x, w: dense_conv(x, w, task, attrs),
                [data, relax.const(pack_weight(matrix, task))],
                "depthwise" if task.shape.kind == "depthwise" else "conv",
            )
        is_column = layer.choice.lowering == "column"
        columns = _columns(values) if is_column else np.arange(matrix.shape[1], dtype=np.int32)
        strides = self.layouts.of(static_shape(data)).strides
        return _call_te(
            builder,
            lambda x, w, o: column_conv(x, w, o, task, attrs, strides=strides),
            [
                data,
                relax.const(pack_weight(matrix[:, columns], task)),
                relax.const(column_offsets(columns, task, strides)),
            ],
            "column_conv" if is_column else "conv",
        )

    def _reads_table(self, shape: LayerShape) -> bool:
        """Whether a dense convolution, too, takes addresses from a table: on a CPU it is faster than three loops."""
        return shape.groups == 1 and shape.kernel != (1, 1) and not is_gpu(self.target)

    def _conv_shape(self, call: relax.Call, values: npt.NDArray[np.float32]) -> LayerShape:
        attrs, data = call.attrs, static_shape(call.args[0])
        groups = int(attrs.groups)
        depthwise = groups > 1 and groups == data[1]
        columns = values[0].size if groups > 1 else _columns(values).size
        padding = [int(p) for p in attrs.padding]
        return LayerShape(
            name=self._name(values, "conv"),
            kind="depthwise" if depthwise else "conv",
            c_in=data[1],
            c_out=values.shape[0],
            kernel=(values.shape[2], values.shape[3]),
            stride=(int(attrs.strides[0]), int(attrs.strides[1])),
            padding=(max(padding[0], padding[2]), max(padding[1], padding[3])),
            dilation=(int(attrs.dilation[0]), int(attrs.dilation[1])),
            groups=groups,
            input_hw=(data[2], data[3]),
            output_hw=(int(call.ty.shape[2]), int(call.ty.shape[3])),
            columns=columns,
        )

    def _matmul(self, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        data, weight = call.args
        shape = static_shape(data)
        if not isinstance(weight, tvm.ir.GenericConst) or len(shape) != 2 or weight.value.numpy().ndim != 2:
            return _default(builder, call)
        values = weight.value.numpy()
        name = self._name(values, "linear")
        parts = [self._linear(builder, data, part, name) for part in self._fitting_parts(values)]
        if len(parts) == 1:
            return parts[0]
        outputs = [builder.emit(part) for part in parts]
        return builder.call_te(topi.concatenate, outputs, axis=1, primfunc_name_hint="join")

    def _fitting_parts(self, values: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """A linear weight ``(in, out)`` by output features, in parts that are buffers the target can have."""
        count = 1
        while True:
            parts = np.array_split(values, count, axis=1)
            tile = choose_linear_tile(parts[0].shape[1], self.target)
            step = tile.vectors * tile.lanes * tile.work_items
            if -(-parts[0].shape[1] // step) * step * values.shape[0] * values.itemsize <= self.target.max_buffer_bytes:
                return parts
            if count == values.shape[1]:
                raise CompileError(
                    f"a linear layer with {values.shape[0]} inputs needs larger buffers than {self.target.name} has "
                    f"({self.target.max_buffer_bytes} bytes)"
                )
            count += 1

    def _linear(
        self, builder: relax.BlockBuilder, data: relax.Expr, values: npt.NDArray[np.float32], name: str
    ) -> relax.Expr:
        layer_shape = LayerShape(
            name=name,
            kind="linear",
            c_in=values.shape[0],
            c_out=values.shape[1],
            kernel=(1, 1),
            stride=(1, 1),
            padding=(0, 0),
            dilation=(1, 1),
            groups=1,
            input_hw=(1, 1),
            output_hw=(1, 1),
            columns=values.shape[0],
        )
        choice = choose_lowering(layer_shape, self.target)
        tile = choose_linear_tile(values.shape[1], self.target)
        batch = static_shape(data)[0]
        attrs = self._add(Layer(kind="linear", shape=layer_shape, choice=choice, tile=tile, batch=batch))
        packed = relax.const(pack_linear_weight(values, tile))
        return _call_te(builder, lambda x, w: linear(x, w, values.shape[1], attrs), [data, packed], "linear")

    def _pool(self, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        attrs = call.attrs
        if attrs.layout != "NCHW" or attrs.out_layout != "NCHW":
            return _default(builder, call)
        is_max = call.op.name == "relax.nn.max_pool2d"
        task = PoolTask(
            mode="max" if is_max else "average",
            kernel=_pair(attrs.pool_size),
            stride=_pair(attrs.strides),
            dilation=_pair(attrs.dilation),
            padding=(int(attrs.padding[0]), int(attrs.padding[1])),
            output_shape=tuple(int(size) for size in call.ty.shape),
            count_padding=not is_max and bool(attrs.count_include_pad),
        )
        return self._emit_pool(builder, call.args[0], task)

    def _adaptive_pool(self, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        data, output = static_shape(call.args[0]), tuple(int(size) for size in call.ty.shape)
        if data[2] % output[2] or data[3] % output[3]:
            return _default(builder, call)
        window = (data[2] // output[2], data[3] // output[3])
        task = PoolTask(
            mode="average", kernel=window, stride=window, dilation=(1, 1), padding=(0, 0), output_shape=output
        )
        return self._emit_pool(builder, call.args[0], task)

    def _emit_pool(self, builder: relax.BlockBuilder, data: relax.Expr, task: PoolTask) -> relax.Expr:
        _, channels, height, width = static_shape(data)
        shape = LayerShape(
            name=f"{task.mode}_pool",
            kind="pool",
            c_in=channels,
            c_out=channels,
            kernel=task.kernel,
            stride=task.stride,
            padding=task.padding,
            dilation=task.dilation,
            groups=channels,
            input_hw=(height, width),
            output_hw=(task.output_shape[2], task.output_shape[3]),
            columns=task.kernel[0] * task.kernel[1],
        )
        modelled = modelled_kernels((shape,), self.target)[0].modelled_us
        choice = Choice(lowering="dense", reason="pooling has no weights", modelled_us=modelled)
        attrs = self._add(Layer(kind="pool", shape=shape, choice=choice, batch=task.output_shape[0]))
        return _call_te(builder, lambda x: pool(x, task, attrs), [data], "pool")

    def _add(self, layer: Layer) -> dict[str, Any]:
        self.layers.append(layer)
        return {LAYER_ANNOTATION: len(self.layers) - 1}

    def _name(self, values: npt.NDArray[np.float32], stem: str) -> str:
        names = self.names.get(weight_key(values), [])
        return names.pop(0) if names else f"{stem}_{len(self.layers)}"


def weight_key(values: npt.NDArray[Any]) -> str:
    """Identity of a weight whatever its layout: a hash of its sorted values."""
    return hashlib.sha256(np.sort(values, axis=None).tobytes()).hexdigest()


def _columns(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """The kept columns; the first where all are zero, so that the layer stays a convolution."""
    columns = kept_columns(weight)
    return columns if columns.size else np.zeros(1, np.int32)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return (int(values[0]), int(values[1]))


def _copy(x: te.Tensor) -> te.Tensor:
    return te.compute(x.shape, lambda *i: x[i], name="copy")


def _keep(_: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    return call


def _dropout(_: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Inference: the input itself, and in the mask's place, which nothing reads, too."""
    return relax.Tuple([call.args[0], call.args[0]])


def _default(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    return call.op.get_attr("FLegalize")(builder, call)


def _call_te(
    builder: relax.BlockBuilder, function: Callable[..., Any], arguments: list[relax.Expr], name: str
) -> relax.Expr:
    attrs = {} if name == "copy" else {"op_pattern": OUT_ELEMENTWISE_FUSABLE}
    return builder.call_te(function, *arguments, primfunc_name_hint=name, primfunc_attrs=attrs)
