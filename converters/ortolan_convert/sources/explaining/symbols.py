"""What stands for the objects of a pickle that is followed and not loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Name(str):
    """Dotted name of what a pickle imports."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Made:
    """What a call in a pickle would make.

    Args:
        by: what is called; a :class:`Name`, or what another call would make.
        arguments: of the call.
        state: what is set on the result; None if nothing is.
        items: what is added to it, if it is a kind of list or dict.
        data: of a joblib array, its first bytes in the file.
    """

    by: Any
    arguments: Any = ()
    state: Any = None
    items: Any = None
    data: bytes = b""

    def get(self, key: str) -> Any:
        """An attribute of the state; None if there is none."""
        state = self.state
        if isinstance(state, tuple) and len(state) == 2:  # attributes and slots
            state = state[0] if isinstance(state[0], dict) else state[1]
        return state.get(key) if isinstance(state, dict) else None
