"""Sizes of tensor axes as expressions of a model's free dimensions: exact arithmetic, and polynomials as bounds."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from ortolan.types import Polynomial

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Monomial = tuple["Atom", ...]
Bound = dict[tuple[str, ...], Fraction]
"""A polynomial: names of dimensions, sorted, with repetition for powers -> coefficient."""


class Size:
    """A sum of products of atoms with rational coefficients; an atom is a free dimension, a quotient or a maximum.

    Immutable, hashable; two sizes are equal if their expressions are.
    """

    __slots__ = ("_hash", "_text", "terms")

    def __init__(self, terms: Mapping[Monomial, Fraction]) -> None:
        self.terms = {monomial: factor for monomial, factor in terms.items() if factor}
        self._text = ""
        self._hash = hash(frozenset(self.terms.items()))

    @property
    def value(self) -> int | None:
        """The number, if it is a whole one."""
        if not self.terms:
            return 0
        factor = self.terms.get(()) if len(self.terms) == 1 else None
        return int(factor) if factor is not None and factor.denominator == 1 else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        if not self._text:
            parts = ("*".join([str(factor), *map(str, monomial)]) for monomial, factor in self.terms.items())
            self._text = " + ".join(sorted(parts)) or "0"
        return self._text

    def __add__(self, other: Size) -> Size:
        terms = dict(self.terms)
        for monomial, factor in other.terms.items():
            terms[monomial] = terms.get(monomial, Fraction(0)) + factor
        return Size(terms)

    def __sub__(self, other: Size) -> Size:
        return self + other * number(-1)

    def __mul__(self, other: Size) -> Size:
        terms: dict[Monomial, Fraction] = {}
        for one, factor in self.terms.items():
            for two, by in other.terms.items():
                monomial = tuple(sorted(one + two, key=str))
                terms[monomial] = terms.get(monomial, Fraction(0)) + factor * by
        return Size(terms)

    def over(self, divisor: int) -> Size:
        """The quotient, rounded down."""
        if self.value is not None:
            return number(self.value // divisor)
        exact = Size({monomial: factor / divisor for monomial, factor in self.terms.items()})
        # A whole number of whole numbers needs no rounding.
        if all(factor.denominator == 1 for factor in exact.terms.values()):
            return exact
        return Size({(Quotient(self, divisor),): Fraction(1)})

    def divided(self, other: Size) -> Size | None:
        """The quotient if ``other`` has one term and divides every term of this; else None."""
        if self == other:
            return number(1)
        if len(other.terms) != 1:
            return None
        ((atoms, by),) = other.terms.items()
        terms: dict[Monomial, Fraction] = {}
        for monomial, factor in self.terms.items():
            rest = list(monomial)
            for atom in atoms:
                if atom not in rest:
                    return None
                rest.remove(atom)
            if (factor / by).denominator != 1:
                return None
            terms[tuple(rest)] = factor / by
        return Size(terms)

    def bound(self, *, upper: bool = True) -> Bound:
        """A polynomial of the free dimensions alone that is never smaller (or never larger) for sizes from 0 on."""
        total: Bound = {}
        for monomial, factor in self.terms.items():
            high = upper == (factor > 0)  # a negative term is bounded from the other side
            if not high and sum(not isinstance(atom, str) for atom in monomial) > 1:
                continue  # products of lower bounds, which may be negative, bound nothing; zero does
            product: Bound = {(): factor}
            for atom in monomial:
                product = _product(product, _atom_bound(atom, upper=high))
            for names, value in product.items():
                total[names] = total.get(names, Fraction(0)) + value
        return total


class Quotient:
    """``numerator // divisor``."""

    __slots__ = ("divisor", "numerator")

    def __init__(self, numerator: Size, divisor: int) -> None:
        self.numerator = numerator
        self.divisor = divisor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quotient) and self.divisor == other.divisor and self.numerator == other.numerator

    def __hash__(self) -> int:
        return hash((self.numerator, self.divisor))

    def __str__(self) -> str:
        return f"({self.numerator})//{self.divisor}"


class Largest:
    """The larger of two sizes."""

    __slots__ = ("one", "other")

    def __init__(self, one: Size, other: Size) -> None:
        self.one, self.other = sorted((one, other), key=str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Largest) and (self.one, self.other) == (other.one, other.other)

    def __hash__(self) -> int:
        return hash((self.one, self.other))

    def __str__(self) -> str:
        return f"max({self.one}, {self.other})"


Atom = str | Quotient | Largest


def number(value: int | Fraction) -> Size:
    """A constant."""
    return Size({(): Fraction(value)})


def symbol(name: str) -> Size:
    """A free dimension."""
    return Size({(name,): Fraction(1)})


def larger(one: Size, other: Size) -> Size:
    """The larger of two sizes."""
    if one == other:
        return one
    if one.value is not None and other.value is not None:
        return number(max(one.value, other.value))
    return Size({(Largest(one, other),): Fraction(1)})


def product(sizes: Iterable[Size]) -> Size:
    """Number of elements of a tensor with these axes."""
    total = number(1)
    for size in sizes:
        total = total * size
    return total


def envelope(bounds: Iterable[Bound]) -> Bound:
    """A polynomial that is nowhere smaller than any of these, for sizes from 0 on: of each coefficient the largest."""
    highest: Bound = {}
    for bound in bounds:
        for names, factor in bound.items():
            highest[names] = max(highest.get(names, Fraction(0)), factor)
    return highest


def polynomial(bound: Bound) -> Polynomial:
    """As it is written to a manifest, the highest powers first."""
    rows = sorted(bound.items(), key=lambda row: (-len(row[0]), row[0]))
    return Polynomial(tuple((float(factor), names) for names, factor in rows if factor))


def _product(one: Bound, other: Bound) -> Bound:
    terms: Bound = {}
    for left, factor in one.items():
        for right, by in other.items():
            names = tuple(sorted(left + right))
            terms[names] = terms.get(names, Fraction(0)) + factor * by
    return terms


def _atom_bound(atom: Atom, *, upper: bool) -> Bound:
    if isinstance(atom, str):
        return {(atom,): Fraction(1)}
    if isinstance(atom, Largest):
        if upper:
            return envelope((atom.one.bound(), atom.other.bound()))
        return atom.one.bound(upper=False)
    # n/d - (d-1)/d <= n // d <= n/d
    bound = atom.numerator.bound(upper=upper)
    quotient = {names: factor / atom.divisor for names, factor in bound.items()}
    if not upper:
        quotient[()] = quotient.get((), Fraction(0)) - Fraction(atom.divisor - 1, atom.divisor)
    return quotient
