"""A device function becomes GLSL 4.50: one compute program; its buffers are bindings in the order of its arguments.

Every TIR statement that our schedules and TVM's fused operators lower to has a form here; another is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import tvm
from tvm import tirx

from ..errors import CompileError
from .device_functions import DeviceFunction, Sizes, walk
from .glsl_bindings import Binding, has_texels
from .glsl_expressions import Expressions
from .glsl_functions import helper_functions
from .glsl_quads import QUAD
from .glsl_scope import Storage
from .glsl_values import glsl_type

__all__ = ["GlslProgram", "glsl_program"]

# A Vulkan device may refuse more in one dimension.
MAX_GROUPS = 65535


@dataclass(frozen=True, kw_only=True)
class GlslProgram:
    """Text, how many work-groups it must be launched with, and its shared memory."""

    text: str
    groups: Sizes
    shared_bytes: int


def glsl_program(function: DeviceFunction, *, max_texel_elements: int = 0) -> GlslProgram:
    """Write a device function.

    Args:
        function: Lowered.
        max_texel_elements: As of a `Target`.

    Raises:
        CompileError: If a construct in it has no form in GLSL; names the kernel and the construct.
    """
    try:
        return _Writer(function=function, max_texel_elements=max_texel_elements).program()
    except CompileError as error:
        raise CompileError(f"kernel {function.name!r} for Vulkan: {error}") from None


@dataclass
class _Writer:
    function: DeviceFunction
    max_texel_elements: int
    lines: list[str] = field(default_factory=list)
    declarations: list[str] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    depth: int = 1
    shared_bytes: int = 0
    expressions: Expressions = field(init=False)

    def __post_init__(self) -> None:
        self.expressions = Expressions(emit=self.line)

    def program(self) -> GlslProgram:
        self._declare_parameters()
        groups = self._declare_groups()
        self.statement(self.function.function.body)
        bound = [text for binding in self.bindings for text in binding.declarations(self.expressions.used)]
        self.declarations = [*bound, *self.declarations]
        x, y, z = self.function.local_size
        header = ["#version 450"]
        if any("float16_t" in line for line in (*self.declarations, *self.lines)):
            header.append("#extension GL_EXT_shader_16bit_storage : require")
        header.append(f"layout(local_size_x = {x}, local_size_y = {y}, local_size_z = {z}) in;")
        helpers = helper_functions(self.expressions.helpers)
        text = "\n".join([*header, *self.declarations, *helpers, "void main() {", *self.lines, "}", ""])
        return GlslProgram(text=text, groups=groups, shared_bytes=self.shared_bytes)

    def line(self, text: str) -> None:
        """Add a line, indented by the blocks that are open."""
        self.depth -= text.startswith("}")
        self.lines.append("  " * self.depth + text)
        self.depth += text.endswith("{")

    def _declare_parameters(self) -> None:
        """Bindings, with the types that the body declares for them."""
        body, parameters = self.function.function.body, self.function.function.params
        declared = [node for node in walk(body) if isinstance(node, tirx.DeclBuffer)]
        written = {node.buffer for node in walk(body) if isinstance(node, tirx.BufferStore)}
        for binding, (parameter, name) in enumerate(zip(parameters, self.function.arguments, strict=True)):
            views = [node.buffer for node in declared if node.data.same_as(parameter)] or [parameter]
            constant = not any(view in written for view in views)
            type_ = glsl_type(str(views[0].ty.dtype))
            if type_.lanes > 1:
                raise CompileError(f"argument {name!r} has elements of {type_.lanes} lanes, one is expected")
            array = self.expressions.fresh(name)
            quads = self.expressions.fresh(f"{name}_quads")
            elements = prod(int(size) for size in views[0].ty.shape)
            texels = has_texels(type_, elements, constant=constant, max_texel_elements=self.max_texel_elements)
            storage = Storage(name=array, type=type_, constant=constant, quads=quads, elements=elements, texels=texels)
            for variable in (parameter, *views):
                self.expressions.storages[variable] = storage
            self.bindings.append(Binding(index=binding, storage=storage))

    def _declare_groups(self) -> Sizes:
        """Work-groups along x are spread over y where they are too many for one dimension."""
        x, y, z = self.function.groups
        rows = -(-x // MAX_GROUPS)
        if rows == 1:
            self.line("int group_x = int(gl_WorkGroupID.x);")
            return (x, y, z)
        if y > 1:
            raise CompileError(f"{x} times {y} work-groups, at most {MAX_GROUPS} in a dimension are possible")
        columns = -(-x // rows)
        self.line(f"int group_x = int(gl_WorkGroupID.x) + {columns} * int(gl_WorkGroupID.y);")
        if columns * rows > x:
            self.line(f"if (group_x >= {x}) return;")
        return (columns, rows, z)

    def statement(self, node: tirx.Stmt) -> None:
        """Write one statement.

        Raises:
            CompileError: If it has no form in GLSL.
        """
        kind = type(node).__name__
        method = getattr(self, f"_write_{kind.lower()}", None)
        if method is None:
            raise CompileError(f"TIR construct {kind!r} has no form in GLSL")
        method(node)

    def _write_seqstmt(self, node: tirx.SeqStmt) -> None:
        for child in node.seq:
            self.statement(child)

    def _write_attrstmt(self, node: tirx.AttrStmt) -> None:
        if node.attr_key == "thread_extent":
            self._thread_index(node.node.var, str(node.node.thread_tag))
        self.statement(node.body)

    def _thread_index(self, variable: tvm.ir.Var, tag: str) -> None:
        kind, _, axis = tag.partition(".")
        source = {"blockIdx": "gl_WorkGroupID", "threadIdx": "gl_LocalInvocationID"}.get(kind)
        if source is None:
            raise CompileError(f"thread index {tag!r} has no form in GLSL")
        if tag == "blockIdx.x":
            text = "group_x"
        elif tag == "blockIdx.y" and self.function.groups[1] == 1:
            text = "0"  # y may hold a part of x
        else:
            text = f"int({source}.{axis})"
        name = self.expressions.fresh(kind)
        self.expressions.names[variable] = name
        self.line(f"int {name} = {text};")

    def _write_for(self, node: tirx.For) -> None:
        if int(node.kind) not in (int(tirx.ForKind.SERIAL), int(tirx.ForKind.UNROLLED)):
            raise CompileError(f"a loop of kind {int(node.kind)} has no form in GLSL")
        start, extent = self.expressions.scalar(node.min), self.expressions.scalar(node.extent)
        end = extent if start == "0" else f"{start} + {extent}"
        name = self.expressions.fresh(str(node.loop_var.name))
        self.expressions.names[node.loop_var] = name
        self.line(f"for (int {name} = {start}; {name} < {end}; ++{name}) {{")
        self._block(node.body)

    def _write_ifthenelse(self, node: tirx.IfThenElse) -> None:
        self.line(f"if ({self.expressions.scalar(node.condition)}) {{")
        self._block(node.then_case, closed=node.else_case is None)
        if node.else_case is not None:
            self.line("} else {")
            self._block(node.else_case)

    def _block(self, body: tirx.Stmt, *, closed: bool = True) -> None:
        self.expressions.known.append({})
        self.statement(body)
        self.expressions.known.pop()
        if closed:
            self.line("}")

    def _write_bufferstore(self, node: tirx.BufferStore) -> None:
        if len(node.indices) != 1:
            raise CompileError(f"a store with {len(node.indices)} indices has no form in GLSL")
        storage, (index,) = self.expressions.storage(node.buffer), node.indices
        value, lanes = self.expressions.value(node.value), 1
        if storage.type.lanes > 1:
            targets = self.expressions.vector_elements(storage, self.expressions.scalar(index)).parts
            texts = list(value.parts)
        elif (quads := self.expressions.quad_vectors(storage, index, value.type)) is not None:
            targets, texts, lanes = quads, list(value.parts), QUAD
        elif value.type.lanes > 1:
            targets = tuple(f"{storage.name}[{text}]" for text in self.expressions.element_indices(index))
            texts = self.expressions.named(value).elements()
        else:
            targets = (f"{storage.name}[{self.expressions.scalar(index)}]",)
            texts = [value.text]
        for target, text in zip(targets, texts, strict=True):
            self.line(f"{target} = {storage.stored(text, lanes)};")

    def _write_allocbuffer(self, node: tirx.AllocBuffer) -> None:
        buffer, type_ = node.buffer, glsl_type(str(node.buffer.ty.dtype))
        scope = str(buffer.scope())
        if scope not in ("local", "shared"):
            raise CompileError(f"memory of scope {scope!r} has no form in GLSL")
        size = prod(int(extent) for extent in buffer.ty.shape) * len(type_.part_types)
        name = self.expressions.fresh(str(buffer.name))
        self.expressions.storages[buffer] = Storage(name=name, type=type_, constant=False)
        declaration = f"{type_.part_types[0]} {name}[{size}];"
        if scope == "local":
            self.line(declaration)
            return
        self.declarations.append(f"shared {declaration}")
        self.shared_bytes += size * 4 * type_.part_lanes[0]

    def _write_declbuffer(self, node: tirx.DeclBuffer) -> None:
        if node.buffer not in self.expressions.storages:  # a view of a private array
            self.expressions.storages[node.buffer] = self.expressions.storage(_array_of(node.data))

    def _write_bind(self, node: tirx.Bind) -> None:
        if hasattr(node.value.ty, "dtype"):
            self.expressions.bind(node.var, node.value)
        else:  # the address of an array
            self.expressions.storages[node.var] = self.expressions.storage(_array_of(node.value))

    def _write_evaluate(self, node: tirx.Evaluate) -> None:
        value = node.value
        if isinstance(value, tirx.IntImm):
            return
        if isinstance(value, tvm.ir.Call) and str(value.op.name).endswith(".tvm_storage_sync"):
            self.line("barrier();")
            return
        raise CompileError(f"TIR construct {type(value).__name__!r} as a statement has no form in GLSL")


def _array_of(address: tvm.ir.Expr) -> tvm.ir.Var:
    """The variable whose address is taken."""
    if isinstance(address, tvm.ir.Call) and len(address.args) == 1:
        address = address.args[0]
    if not isinstance(address, tvm.ir.Var):
        raise CompileError(f"address {type(address).__name__!r} has no form in GLSL")
    return address
