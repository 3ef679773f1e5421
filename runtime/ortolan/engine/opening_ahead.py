"""Sessions that are opened while something else is made ready, such as a tokenizer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ortolan.engine.session import OrtSession


class OpeningSessions(Mapping[str, "OrtSession"]):
    """Sessions by component, opened by a thread of their own, one after the other; who asks for one waits for all.

    onnxruntime does not hold Python's lock while it loads a model, so on two processors that costs no time.

    Args:
        openers: what opens each session.
    """

    def __init__(self, openers: Mapping[str, Callable[[], OrtSession]]) -> None:
        self._openers = openers
        self._opened: dict[str, OrtSession] = {}
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._open, name="ortolan-load")
        self._thread.start()

    def __getitem__(self, component: str) -> OrtSession:
        """The session of a component.

        Raises:
            OrtolanError: whatever opening one of them raised.
        """
        if component not in self._openers:
            raise KeyError(component)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._opened[component]

    def __iter__(self) -> Iterator[str]:
        return iter(self._openers)

    def __len__(self) -> int:
        return len(self._openers)

    def close(self) -> None:
        """Close what was opened."""
        self._thread.join()
        for session in self._opened.values():
            session.close()

    def _open(self) -> None:
        try:
            for component, opener in self._openers.items():
                self._opened[component] = opener()
        except BaseException as error:  # noqa: BLE001 - raised again where the session is asked for
            self._error = error
