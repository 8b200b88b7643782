"""Integer polynomials over program variables: enough algebra to show that two array subscripts never meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

_MOST_TERMS = 64


class TooManyTermsError(ValueError):
    """A product grew past what a subscript in a hand-written kernel has; the caller gives up its proof."""


@dataclass(frozen=True)
class Polynomial:
    """A sum of integer multiples of products of symbols; symbols are integers, a product is a sorted tuple of them."""

    terms: Mapping[tuple[int, ...], int] = field(default_factory=dict)

    @classmethod
    def constant(cls, value: int) -> Polynomial:
        """The number `value`."""
        return cls({(): value} if value else {})

    @classmethod
    def symbol(cls, symbol: int) -> Polynomial:
        """One variable."""
        return cls({(symbol,): 1})

    def __add__(self, other: Polynomial) -> Polynomial:
        total = dict(self.terms)
        for product, factor in other.terms.items():
            total[product] = total.get(product, 0) + factor
        return Polynomial({product: factor for product, factor in total.items() if factor})

    def __neg__(self) -> Polynomial:
        return Polynomial({product: -factor for product, factor in self.terms.items()})

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + -other

    def __mul__(self, other: Polynomial) -> Polynomial:
        total: dict[tuple[int, ...], int] = {}
        for left, left_factor in self.terms.items():
            for right, right_factor in other.terms.items():
                product = tuple(sorted(left + right))
                total[product] = total.get(product, 0) + left_factor * right_factor
        if len(total) > _MOST_TERMS:
            raise TooManyTermsError(f"{len(total)} terms")
        return Polynomial({product: factor for product, factor in total.items() if factor})

    @property
    def symbols(self) -> frozenset[int]:
        """Every symbol that occurs."""
        return frozenset(symbol for product in self.terms for symbol in product)

    @property
    def number(self) -> int | None:
        """The value, if no symbol occurs."""
        return None if self.symbols else self.terms.get((), 0)

    def split(self, symbol: int) -> tuple[Polynomial, Polynomial] | None:
        """Write the polynomial as `factor · symbol + rest`.

        Returns:
            `(factor, rest)`, neither with the symbol in it; None where the symbol occurs squared or higher.
        """
        factor: dict[tuple[int, ...], int] = {}
        rest: dict[tuple[int, ...], int] = {}
        for product, coefficient in self.terms.items():
            count = product.count(symbol)
            if count > 1:
                return None
            if count:
                position = product.index(symbol)
                factor[product[:position] + product[position + 1 :]] = coefficient
            else:
                rest[product] = coefficient
        return Polynomial(factor), Polynomial(rest)

    def never_negative(self, known: Collection[int]) -> bool:
        """Whether it is certainly at least 0 when the symbols in `known` are; False also means "cannot tell"."""
        return all(factor >= 0 and all(symbol in known for symbol in product) for product, factor in self.terms.items())
