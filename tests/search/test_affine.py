from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.search.synthesizers.affine import Polynomial, TooManyTermsError

polynomials = st.dictionaries(
    st.lists(st.integers(1, 3), max_size=3).map(lambda product: tuple(sorted(product))),
    st.integers(-5, 5).filter(bool),
    max_size=5,
).map(Polynomial)
points = st.fixed_dictionaries({symbol: st.integers(-4, 4) for symbol in (1, 2, 3)})


def value(polynomial: Polynomial, point: dict[int, int]) -> int:
    total = 0
    for product, factor in polynomial.terms.items():
        for symbol in product:
            factor *= point[symbol]
        total += factor
    return total


@given(polynomials, polynomials, points)
def test_arithmetic_agrees_with_numbers(one: Polynomial, other: Polynomial, point: dict[int, int]) -> None:
    assert value(one + other, point) == value(one, point) + value(other, point)
    assert value(one - other, point) == value(one, point) - value(other, point)
    assert value(one * other, point) == value(one, point) * value(other, point)
    assert (one - one).terms == {}


@given(polynomials, points)
def test_split_takes_one_symbol_out(polynomial: Polynomial, point: dict[int, int]) -> None:
    parts = polynomial.split(1)

    if parts is None:
        assert any(product.count(1) > 1 for product in polynomial.terms)
        return
    factor, rest = parts
    assert 1 not in factor.symbols | rest.symbols
    assert value(polynomial, point) == value(factor, point) * point[1] + value(rest, point)


@given(polynomials, points)
def test_never_negative_is_true_for_every_value(polynomial: Polynomial, point: dict[int, int]) -> None:
    known = {symbol for symbol in point if point[symbol] >= 0}

    if polynomial.never_negative(known):
        assert value(polynomial, point) >= 0


def test_products_do_not_grow_without_end() -> None:
    wide = Polynomial({(symbol,): 1 for symbol in range(9)})

    with pytest.raises(TooManyTermsError):
        _ = wide * wide * wide
