"""Loads ahead of use: a hint to the processor, without effect on results.

A fleet of thousands is larger than the caches. What the next event will read is known while this
one is worked on, so that its lines can be on their way from memory meanwhile.
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


def _of_array(_typing: Any, array: Any, _row: Any, _byte: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        whole, row, byte = values
        found = context.make_array(array)(context, builder, whole)
        row_bytes = cgutils.unpack_tuple(builder, found.strides)[0]
        offset = builder.add(builder.mul(row, row_bytes), byte)
        first = builder.ptrtoint(found.data, offset.type)
        line = builder.inttoptr(builder.add(first, offset), cgutils.voidptr_t)
        flag = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, flag, flag, flag])
        call = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        builder.call(call, [line, flag(READ), flag(KEEP), flag(DATA)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


prefetch: Any = intrinsic(_of_array)
"""`prefetch(array, row, byte)`: the line that is so many bytes behind the start of `array[row]`."""
