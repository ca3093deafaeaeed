"""Two things that the processor does and numba has no word for: loads ahead of use, and moves.

A fleet of thousands is larger than the caches. What the next events will read is known while this
one is worked on, so that its lines can be on their way from memory meanwhile: a hint, without
effect on results. A move of a row's tail is one call instead of a loop over two bytes at a time.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LINE_BYTES = 64
READ, KEEP, DATA = 0, 3, 1
"""Arguments of LLVM's prefetch: for reading, into all levels of caches, data."""


def _address(context: Any, builder: Any, array: Any, whole: Any, row: Any, byte: Any) -> Any:
    """Of the byte so many behind the start of a row."""
    found = context.make_array(array)(context, builder, whole)
    row_bytes = cgutils.unpack_tuple(builder, found.strides)[0]
    offset = builder.add(builder.mul(row, row_bytes), byte)
    first = builder.ptrtoint(found.data, offset.type)
    return builder.inttoptr(builder.add(first, offset), cgutils.voidptr_t)


def _of_prefetch(_typing: Any, array: Any, _row: Any, _byte: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        line = _address(context, builder, array, *values)
        flag = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, flag, flag, flag])
        call = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        builder.call(call, [line, flag(READ), flag(KEEP), flag(DATA)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


def _of_move(_typing: Any, array: Any, _row: Any, _target: Any, _bytes: Any) -> Any:
    item_bytes = array.dtype.bitwidth // 8

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        whole, row, first, last = values
        size = ir.Constant(first.type, item_bytes)
        start = builder.mul(first, size)
        target = _address(context, builder, array, whole, row, start)
        source = _address(context, builder, array, whole, row, builder.add(start, size))
        length = builder.mul(builder.sub(last, first), size)
        cgutils.raw_memmove(builder, target, source, length, 1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp), generate


prefetch: Any = intrinsic(_of_prefetch)
"""`prefetch(array, row, byte)`: the line that is so many bytes behind the start of `array[row]`."""

close_gap: Any = intrinsic(_of_move)
"""`close_gap(array, row, gap, last)`: `array[row, gap:last] = array[row, gap + 1 : last + 1]`."""
