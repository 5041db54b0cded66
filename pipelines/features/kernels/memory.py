"""Pointers and bit operations for kernels: a pointer argument is cheaper than an array, which has seven words.

The caller of `pointer` must keep the array alive until the last use; only the entry points in `entry.py` call it.
Indexing is unchecked.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic


@intrinsic
def _pointer(typing_context, array):
    """Return a pointer to the first element of a contiguous array."""
    del typing_context

    def codegen(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def _eight_bytes(typing_context, data, i):
    """Return eight bytes from byte i of a u8 pointer as a little-endian u64, without alignment."""
    del typing_context

    def codegen(context, builder, signature, args):
        from llvmlite import ir

        place = builder.gep(args[0], [args[1]])
        wide = builder.bitcast(place, ir.IntType(64).as_pointer())
        return builder.load(wide, align=1)

    return types.uint64(data, types.intp), codegen


@intrinsic
def _folded_product(typing_context, a, b):
    """Return the exclusive or of the high and low halves of the 128-bit product of two u64."""
    del typing_context

    def codegen(context, builder, signature, args):
        from llvmlite import ir

        wide, half = ir.IntType(128), ir.IntType(64)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), half)
        return builder.xor(high, builder.trunc(product, half))

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def _trailing_zeros(typing_context, word):
    """Return the number of zero bits below the lowest set bit of a u64 (64 for 0)."""
    del typing_context

    def codegen(context, builder, signature, args):
        from llvmlite import ir

        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic
def _set_bits(typing_context, word):
    """Return the number of set bits of a u64."""
    del typing_context

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


# Untyped aliases for kernels: an intrinsic has one argument less than its definition.
pointer: Any = _pointer
eight_bytes: Any = _eight_bytes
folded_product: Any = _folded_product
trailing_zeros: Any = _trailing_zeros
set_bits: Any = _set_bits
