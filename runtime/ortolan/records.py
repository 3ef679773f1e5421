"""Frozen dataclasses with slots that are quickly made.

The standard library writes and compiles six methods for each class: 0.3 ms on a PC, several times that on a small
board, and loading a model defines forty classes. Here they are shared functions, and what few ask for (the fields, for
``asdict``; the signature, for ``help``) is taken from the library's form of the class when it is first read. Otherwise
the classes behave as the library's do, and for type checkers they are the library's. Modules that every load imports
take `dataclass` and `replace` from here.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's

__all__ = ["dataclass", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    import dataclasses
    import threading

    def dataclass(*, frozen, slots, kw_only=False):
        """As ``dataclasses.dataclass``, for classes that are frozen, have slots and no base class."""
        if not (frozen and slots):
            raise TypeError("expected frozen=True and slots=True; dataclasses.dataclass makes other classes")

        def made(plain):
            names = tuple(plain.__annotations__)
            content = {key: value for key, value in plain.__dict__.items() if key not in {"__dict__", "__weakref__"}}
            given = {name: content.pop(name) for name in names if name in content}
            library = _Library(plain, kw_only)
            content |= {
                "__qualname__": plain.__qualname__,
                "__slots__": names,
                "__match_args__": () if kw_only else names,
                "__dataclass_fields__": _Late(library, lambda form: form.__dataclass_fields__),
                "__signature__": _Late(library, _signature),
                "__init__": _initializer(plain, names, 0 if kw_only else len(names), _makers(given)),
                "__repr__": _representation([name for name in names if getattr(given.get(name), "repr", True)]),
                "__eq__": _equal,
                "__hash__": _hash,
                "__setattr__": _refuse,
                "__delattr__": _refuse,
                "__getstate__": _values,
                "__setstate__": _set_values,
            }
            return type(plain.__name__, (), content)

        return made

    def replace(record, /, **changes):
        """As ``dataclasses.replace``, for classes with slots."""
        return type(record)(**{name: getattr(record, name) for name in record.__slots__} | changes)

    class _Library:
        """The library's form of a class, made once."""

        def __init__(self, plain, kw_only):
            self._plain, self._kw_only = plain, kw_only
            self._lock = threading.Lock()
            self._form = None

        def form(self):
            with self._lock:
                if self._form is None:
                    self._form = dataclasses.dataclass(frozen=True, kw_only=self._kw_only)(self._plain)
            return self._form

    class _Late:
        """A class attribute that is taken from the library's form of the class when it is first read."""

        def __init__(self, library, take):
            self._library, self._take = library, take

        def __set_name__(self, owner, name):
            self._name = name

        def __get__(self, instance, owner):
            value = self._take(self._library.form())
            setattr(owner, self._name, value)
            return value

    def _signature(form):
        from inspect import signature

        return signature(form)

    def _makers(given):
        """What makes the default of each field that has one."""
        makers = {}
        for name, value in given.items():
            if not isinstance(value, dataclasses.Field):
                makers[name] = lambda value=value: value
            elif value.default_factory is not dataclasses.MISSING:
                makers[name] = value.default_factory
            elif value.default is not dataclasses.MISSING:
                makers[name] = lambda value=value.default: value
        return makers

    def _initializer(plain, names, most, makers):
        """``__init__`` of a class with these fields, of which ``most`` may be given by position."""
        name, finish = plain.__name__, getattr(plain, "__post_init__", None)

        def initialize(self, *args, **given):
            if len(args) > most:
                raise TypeError(f"{name}() takes {most} positional arguments, {len(args)} were given")
            values = dict(zip(names, args))  # noqa: B905 - fewer are fine
            for key, value in given.items():
                if key in values or key not in names:
                    problem = "multiple values for" if key in values else "an unexpected keyword"
                    raise TypeError(f"{name}() got {problem} argument {key!r}")
                values[key] = value
            missing = [key for key in names if key not in values and key not in makers]
            if missing:
                raise TypeError(f"{name}() missing required arguments: {', '.join(map(repr, missing))}")
            for key in names:
                object.__setattr__(self, key, values[key] if key in values else makers[key]())
            if finish is not None:
                finish(self)

        return initialize

    def _representation(shown):
        return lambda self: f"{type(self).__qualname__}({', '.join(f'{key}={getattr(self, key)!r}' for key in shown)})"

    def _values(self):
        return tuple([getattr(self, key) for key in self.__slots__])

    def _set_values(self, values):
        for key, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, key, value)

    def _equal(self, other):
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(_values(self))

    def _refuse(self, name, *value):
        raise dataclasses.FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r} of {self!r}")
