"""Sixteen float32 numbers side by side, as one value inside a function compiled by numba.

A loop over arrays is vectorised by a compiler only where it can prove that nothing overlaps; in short inner
loops the proof costs more than the work. Values of this type become vector instructions as they are written.
Numba brings its compiler along, so none need be installed. Code for numba carries no type annotations.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_WHOLES = ir.VectorType(ir.IntType(32), LANES)


class _LanesType(types.Type):
    def __init__(self):
        super().__init__("Lanes")


_lanes = _LanesType()


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _FLOATS)


def _constant(value):
    return ir.Constant(_FLOATS, [value] * LANES)


def _call(builder, name, *values):
    """A function that LLVM knows by itself, such as ``fma``."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(values))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")
    return builder.call(function, values)


def _pointer(context, builder, kind, array, index):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


@intrinsic
def load(_, array, index):
    """The numbers from ``index`` on of a flat array of float32."""

    def code(context, builder, signature, given):
        return builder.load(_pointer(context, builder, signature.args[0], *given), align=4)

    return _lanes(array, types.intp), code


@intrinsic
def store(_, array, index, value):
    """Write the numbers from ``index`` on."""

    def code(context, builder, signature, given):
        place = _pointer(context, builder, signature.args[0], given[0], given[1])
        builder.store(given[2], place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), code


@intrinsic
def splat(_, number):
    """One float32 number in every lane."""

    def code(context, builder, signature, given):
        nothing = ir.Constant(_FLOATS, ir.Undefined)
        first = builder.insert_element(nothing, given[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, nothing, ir.Constant(_WHOLES, [0] * LANES))

    return _lanes(types.float32), code


def _operation(n_values, code):
    """An intrinsic of lanes alone; ``code`` takes the builder and the values."""

    def run(context, builder, signature, given):
        return code(builder, *given)

    if n_values == 1:
        return intrinsic(lambda _, x: (_lanes(_lanes), run))
    if n_values == 2:
        return intrinsic(lambda _, x, y: (_lanes(_lanes, _lanes), run))
    return intrinsic(lambda _, x, y, z: (_lanes(_lanes, _lanes, _lanes), run))


def _exp(builder, value):
    """2^k e^f with |f| <= ln 2 / 2: k by rounding, e^f by a polynomial, 2^k by writing the exponent's bits.

    The coefficients are those of Cephes' expf; the relative error is below 2e-7. Below -87 it stays at
    e^-87, where float32 ends.
    """
    value = _call(builder, "minnum", _call(builder, "maxnum", value, _constant(-87.0)), _constant(88.0))
    k = _call(builder, "rint", builder.fmul(value, _constant(1.44269504088896341)))
    f = _call(builder, "fma", k, _constant(-0.693359375), value)
    f = _call(builder, "fma", k, _constant(2.12194440e-4), f)
    p = _constant(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = _call(builder, "fma", p, f, _constant(c))
    p = builder.fadd(_call(builder, "fma", p, builder.fmul(f, f), f), _constant(1.0))
    biased = builder.add(builder.fptosi(k, _WHOLES), ir.Constant(_WHOLES, [127] * LANES))
    power = builder.bitcast(builder.shl(biased, ir.Constant(_WHOLES, [23] * LANES)), _FLOATS)
    return builder.fmul(p, power)


def _where_positive(builder, given, value, other):
    return builder.select(builder.fcmp_ordered(">", given, _constant(0.0)), value, other)


add = _operation(2, lambda builder, x, y: builder.fadd(x, y))
sub = _operation(2, lambda builder, x, y: builder.fsub(x, y))
mul = _operation(2, lambda builder, x, y: builder.fmul(x, y))
div = _operation(2, lambda builder, x, y: builder.fdiv(x, y))
larger = _operation(2, lambda builder, x, y: _call(builder, "maxnum", x, y))
smaller = _operation(2, lambda builder, x, y: _call(builder, "minnum", x, y))
fma = _operation(3, lambda builder, x, y, z: _call(builder, "fma", x, y, z))  # x * y + z
exp = _operation(1, _exp)
where_positive = _operation(3, _where_positive)  # y where x > 0, else z
