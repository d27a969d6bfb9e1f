"""Small matrix products for the CPU kernels, whose result stays in vector registers while it is
summed.

What LLVM makes of plain loops stores every partial sum to memory. A tile keeps `rows` x `vectors`
vectors in registers through the whole sum, and reaches most of what the processor can do also for
products as small as those of one atom. It is written with LLVM's vector types, which are translated
for whatever processor there is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mda_aptnn.compiled import processor_features

_WIDE = "avx512f" in processor_features()
#: Bytes of the vectors, and how many of them one tile has in a row: 32 registers with AVX-512, 16
#: without.
VECTOR_BYTES, WIDEST = (64, 4) if _WIDE else (32, 2)
#: Rows of a tile. Operands have so many rows, or a multiple.
ROWS = 6
#: Radial functions of one element are padded to a multiple of this.
RADIAL = 8
#: Neighbouring columns that stay together when a result is written by `chunks`.
CHUNK = 4


def tile(
    rows: int, sizes: tuple[int, ...] = (1,), *, lanes: int | None = None, chunks: bool = False
) -> Callable[..., None]:
    """Return a function for numba code: a tile of sums over `count` terms.

    It is called as ``tile(size, a, a_index, (a_start, a_step, a_first), b, b_index, (b_start,
    b_first), count, c, (c_start, c_step), add)`` and gives, for r < rows and v < size · lanes,

    ``C[r, v] = Σ_t a[a_start + r·a_step + a_index[a_first + t]] · b[b_start + b_index[b_first + t]
    + v]``, where C[r, v] is ``c[c_start + r·c_step + v]``, or, with `chunks`, ``c[c_start + r·CHUNK
    + (v // CHUNK)·c_step + v % CHUNK]``. With `add` it is added to what stands there.

    Parameters
    ----------
    rows : int
    sizes : tuple of int
        Vectors in a row that it may be called with.
    lanes : int, optional
        Numbers of a vector; as many as `VECTOR_BYTES` hold by default.
    chunks : bool
    """

    @intrinsic
    def summed(context, size, a, a_index, a_at, b, b_index, b_at, count, c, c_at, add):  # type: ignore[no-untyped-def]
        whole = types.int64
        pair, triple = types.UniTuple(whole, 2), types.UniTuple(whole, 3)
        signature = types.void(
            whole, a, a_index, triple, b, b_index, pair, whole, c, pair, types.boolean
        )

        def codegen(context, builder, signature, args) -> Any:  # type: ignore[no-untyped-def]
            for known in sizes:
                chosen = builder.icmp_signed("==", args[0], ir.IntType(64)(known))
                with builder.if_then(chosen):
                    _emit(context, builder, signature, args, (rows, known, lanes, chunks))
            return context.get_dummy_value()

        return signature, codegen

    tile: Callable[..., None] = summed
    return tile


def _emit(context: Any, builder: Any, signature: Any, args: Any, shape: Any) -> None:
    """Write the instructions of a tile."""
    rows, vectors, lanes, chunks = shape
    A, A_index, B, B_index, C = (
        context.make_array(signature.args[k])(context, builder, args[k]).data
        for k in (1, 2, 4, 5, 8)
    )
    a_start, a_step, a_first, b_start, b_first, c_start, c_step = (
        value for k in (3, 6, 9) for value in cgutils.unpack_tuple(builder, args[k])
    )
    count, add = args[7], args[10]
    scalar = context.get_data_type(signature.args[1].dtype)
    align = signature.args[1].dtype.bitwidth // 8
    width = lanes or VECTOR_BYTES // align
    vector, integer, lane = ir.VectorType(scalar, width), ir.IntType(64), ir.IntType(32)
    undefined = ir.Constant(vector, ir.Undefined)

    def place(base: Any, index: Any, kind: Any) -> Any:
        return builder.bitcast(builder.gep(base, [index]), kind.as_pointer())

    def load_vector(base: Any, index: Any) -> Any:
        return builder.load(place(base, index, vector), align=align)

    def broadcast(value: Any) -> Any:
        one = builder.insert_element(undefined, value, ir.Constant(lane, 0))
        mask = ir.Constant(ir.VectorType(lane, width), [0] * width)
        return builder.shuffle_vector(one, undefined, mask)

    def index_of(base: Any, first: Any, term: Any, position: int) -> Any:
        value = builder.load(builder.gep(base, [builder.add(first, term)]))
        return context.cast(builder, value, signature.args[position].dtype, types.int64)

    zero = ir.Constant(vector, [0.0] * width)
    sums = [
        [cgutils.alloca_once(builder, vector, name=f"sum_{r}_{v}") for v in range(vectors)]
        for r in range(rows)
    ]
    for total in itertools.chain(*sums):
        builder.store(zero, total)
    starts = [builder.add(a_start, builder.mul(a_step, integer(r))) for r in range(rows)]
    with cgutils.for_range(builder, count) as loop:
        a_place = index_of(A_index, a_first, loop.index, 2)
        b_place = builder.add(b_start, index_of(B_index, b_first, loop.index, 5))
        right = [load_vector(B, builder.add(b_place, integer(v * width))) for v in range(vectors)]
        for start, row in zip(starts, sums, strict=True):
            left = broadcast(builder.load(builder.gep(A, [builder.add(start, a_place)])))
            for factor, total in zip(right, row, strict=True):
                # contracted to one instruction where the processor has it
                product = builder.fmul(left, factor, flags=("contract",))
                more = builder.fadd(builder.load(total), product, flags=("contract",))
                builder.store(more, total)

    for r, v in itertools.product(range(rows), range(vectors)):
        total = builder.load(sums[r][v])
        if not chunks:
            column = builder.add(builder.mul(c_step, integer(r)), integer(v * width))
            index = builder.add(c_start, column)
            before = builder.select(add, load_vector(C, index), zero)
            builder.store(builder.fadd(before, total), place(C, index, vector), align=align)
            continue
        row_start = builder.add(c_start, integer(r * CHUNK))
        for part in range(width // CHUNK):
            numbers = [part * CHUNK + n for n in range(CHUNK)]
            mask = ir.Constant(ir.VectorType(lane, CHUNK), numbers)
            piece = builder.shuffle_vector(total, undefined, mask)
            step = builder.mul(c_step, integer(v * (width // CHUNK) + part))
            where = place(C, builder.add(row_start, step), ir.VectorType(scalar, CHUNK))
            builder.store(piece, where, align=align)
