"""Small matrix products for the CPU kernels, whose result stays in vector registers while it is
summed.

What LLVM makes of plain loops stores every partial sum to memory. A tile keeps `rows` x `vectors`
vectors in registers through the whole sum, and reaches most of what the processor can do also for
products as small as those of one atom. It is written with LLVM's vector types, which are translated
for whatever processor there is.
"""

from __future__ import annotations

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
    rows: int, vectors: int, *, lanes: int | None = None, chunks: bool = False
) -> Callable[..., None]:
    """Return a function for numba code: `rows` x (`vectors` · `lanes`) of a sum over `count` terms.

    Without `lanes` a vector has `VECTOR_BYTES`.

    ``C[r, v] = Σ_t a[a_start + r·a_step + a_index[a_first + t]] · b[b_start + b_index[b_first + t]
    + v]``, where C[r, v] is ``c[c_start + r·c_step + v]``, or, with `chunks`, ``c[c_start + r·CHUNK
    + (v // CHUNK)·c_step + v % CHUNK]``. With `add` it is added to what stands there.
    """

    @intrinsic
    def summed(  # type: ignore[no-untyped-def]
        context,
        a,
        a_start,
        a_step,
        a_index,
        a_first,
        b,
        b_start,
        b_index,
        b_first,
        count,
        c,
        c_start,
        c_step,
        add,
    ):
        whole = types.int64
        signature = types.void(
            a,
            whole,
            whole,
            a_index,
            whole,
            b,
            whole,
            b_index,
            whole,
            whole,
            c,
            whole,
            whole,
            types.boolean,
        )

        def codegen(context, builder, signature, args) -> Any:  # type: ignore[no-untyped-def]
            def pointer(position: int) -> Any:
                return context.make_array(signature.args[position])(
                    context, builder, args[position]
                ).data

            A, A_index, B, B_index, C = (pointer(position) for position in (0, 3, 5, 7, 10))
            a_start, a_step, a_first, b_start, b_first, count, c_start, c_step, add = (
                args[position] for position in (1, 2, 4, 6, 8, 9, 11, 12, 13)
            )
            scalar = context.get_data_type(signature.args[0].dtype)
            align = signature.args[0].dtype.bitwidth // 8
            width = lanes or VECTOR_BYTES // align
            vector = ir.VectorType(scalar, width)
            integer = ir.IntType(64)

            def load_vector(base: Any, index: Any) -> Any:
                place = builder.bitcast(builder.gep(base, [index]), vector.as_pointer())
                return builder.load(place, align=align)

            def broadcast(value: Any) -> Any:
                one = builder.insert_element(
                    ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
                )
                mask = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
                return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)

            sums = [
                [cgutils.alloca_once(builder, vector, name=f"sum_{r}_{v}") for v in range(vectors)]
                for r in range(rows)
            ]
            zero = ir.Constant(vector, [0.0] * width)
            for row in sums:
                for place in row:
                    builder.store(zero, place)
            row_starts = [
                builder.add(a_start, builder.mul(a_step, integer(r))) for r in range(rows)
            ]
            with cgutils.for_range(builder, count) as loop:
                a_place = context.cast(
                    builder,
                    builder.load(builder.gep(A_index, [builder.add(a_first, loop.index)])),
                    signature.args[3].dtype,
                    whole,
                )
                b_place = builder.load(builder.gep(B_index, [builder.add(b_first, loop.index)]))
                b_place = builder.add(
                    b_start, context.cast(builder, b_place, signature.args[7].dtype, whole)
                )
                right = [
                    load_vector(B, builder.add(b_place, integer(v * width))) for v in range(vectors)
                ]
                for r in range(rows):
                    left = broadcast(
                        builder.load(builder.gep(A, [builder.add(row_starts[r], a_place)]))
                    )
                    for v in range(vectors):
                        # contracted to one instruction where the processor has it
                        product = builder.fmul(left, right[v], flags=("contract",))
                        total = builder.fadd(builder.load(sums[r][v]), product, flags=("contract",))
                        builder.store(total, sums[r][v])

            for r in range(rows):
                for v in range(vectors):
                    total = builder.load(sums[r][v])
                    if chunks:
                        for part in range(width // CHUNK):
                            mask = ir.Constant(
                                ir.VectorType(ir.IntType(32), CHUNK),
                                [part * CHUNK + n for n in range(CHUNK)],
                            )
                            piece = builder.shuffle_vector(
                                total, ir.Constant(vector, ir.Undefined), mask
                            )
                            step = builder.mul(c_step, integer(v * (width // CHUNK) + part))
                            index = builder.add(builder.add(c_start, integer(r * CHUNK)), step)
                            where = builder.bitcast(
                                builder.gep(C, [index]), ir.VectorType(scalar, CHUNK).as_pointer()
                            )
                            builder.store(piece, where, align=align)
                        continue
                    index = builder.add(
                        c_start, builder.add(builder.mul(c_step, integer(r)), integer(v * width))
                    )
                    before = builder.select(add, load_vector(C, index), zero)
                    where = builder.bitcast(builder.gep(C, [index]), vector.as_pointer())
                    builder.store(builder.fadd(before, total), where, align=align)
            return context.get_dummy_value()

        return signature, codegen

    tile: Callable[..., None] = summed
    return tile
