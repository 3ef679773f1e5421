"""The quickly made dataclasses, beside the library's own."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest

from ortolan.records import dataclass, replace

FORMS = [dataclass, dataclasses.dataclass]


@dataclass(frozen=True, slots=True)
class Point:
    """A point."""

    x: int
    y: int = 2
    names: list[str] = dataclasses.field(default_factory=list)
    note: str = dataclasses.field(default="", repr=False)

    @property
    def both(self) -> tuple[int, int]:
        """Its coordinates."""
        return self.x, self.y


def of(form: Any, **options: Any) -> Any:
    """The same class in both forms."""

    @form(frozen=True, slots=True, **options)
    class Same:
        """The same."""

        a: int
        b: str = "b"
        c: list[int] = dataclasses.field(default_factory=list)
        d: int = dataclasses.field(default=4, repr=False)

    return Same


@pytest.mark.parametrize("options", [{}, {"kw_only": True}])
@pytest.mark.parametrize(
    "look",
    [
        lambda cls: repr(cls(a=1)),
        lambda cls: cls(a=1) == cls(a=1, b="b", c=[], d=4),
        lambda cls: cls(a=1) == cls(a=2),
        lambda cls: cls(a=1) == (1, "b", [], 4),
        lambda cls: hash(cls(a=1, c=())) == hash(cls(a=1, c=())),
        lambda cls: cls(a=1).c is cls(a=1).c,
        lambda cls: dataclasses.asdict(cls(a=cls(a=1))),
        lambda cls: [(f.name, f.type, f.repr, f.kw_only) for f in dataclasses.fields(cls)],
        lambda cls: dataclasses.is_dataclass(cls(a=1)),
        lambda cls: (cls.__doc__, cls.__name__, cls.__qualname__, cls.__module__, cls.__match_args__),
        lambda cls: str(inspect.signature(cls)),
        lambda cls: hasattr(cls(a=1), "__dict__"),
        lambda cls: repr(dataclasses.replace(cls(a=1), b="new")),
        lambda cls: repr(copy.deepcopy(cls(a=1, c=[1]))),
    ],
)
def test_as_the_library_s(options: Any, look: Any) -> None:
    """What can be asked of a class and its instances has the same answer."""
    ours, theirs = (look(of(form, **options)) for form in FORMS)
    assert ours == theirs


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("options", "args", "given"),
    [
        ({}, (), {}),
        ({}, (1,), {"a": 1}),
        ({}, (1,), {"e": 1}),
        ({}, (1, "b", [], 4, 5), {}),
        ({"kw_only": True}, (1,), {}),
    ],
)
def test_wrong_arguments(form: Any, options: Any, args: Any, given: Any) -> None:
    """Missing, twice, unknown, too many, by position where none may be."""
    with pytest.raises(TypeError):
        of(form, **options)(*args, **given)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_can_be_changed(form: Any) -> None:
    """Neither set nor deleted, whether there is such a field or not."""
    record = of(form)(1)
    for name in ("a", "other") if form is dataclass else ("a",):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, 2)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(record, name)
    assert record.a == 1


def test_pickles_and_copies() -> None:
    """An instance survives a trip to another process."""
    point = Point(1, names=["n"])
    assert pickle.loads(pickle.dumps(point)) == point == copy.copy(point)
    assert point.both == (1, 2)


def test_positional_patterns() -> None:
    """A match statement sees the fields in order."""
    match Point(1):
        case Point(x, 2):
            assert x == 1
        case _:
            pytest.fail("no match")


def test_replace() -> None:
    """Of classes of either form; an unknown field is an error."""
    for form in FORMS:
        record = of(form)(1)
        assert (replace(record, a=5).a, record.a) == (5, 1)
        with pytest.raises(TypeError):
            replace(record, e=1)


def test_other_classes_are_the_library_s_affair() -> None:
    """A class that may be changed is refused."""
    with pytest.raises(TypeError, match="expected frozen=True and slots=True"):
        dataclass(frozen=False, slots=True)


@pytest.mark.parametrize("form", FORMS)
def test_post_init_runs_last(form: Any) -> None:
    """``__post_init__`` sees all fields."""

    @form(frozen=True, slots=True)
    class Doubled:
        x: int

        def __post_init__(self) -> None:
            object.__setattr__(self, "x", 2 * self.x)

    assert Doubled(3).x == 6


def test_fields_and_signature_of_one_class() -> None:
    """Both come from the library's form of the class, which is made once."""
    made = of(dataclass)
    assert list(inspect.signature(made).parameters) == [field.name for field in dataclasses.fields(made)]
