"""The spares that are ready, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from vmpool.backends.base import MachineKey, MachineSpec


@dataclass(frozen=True, slots=True)
class Spare:
    """A running machine that is nobody's.  spec: what it was made to.  warm: its interpreter waits."""

    key: MachineKey
    spec: MachineSpec
    container_id: str
    warm: bool = False


class Shelf:
    """Spares by template.  Nothing here awaits: whoever takes one has it alone."""

    def __init__(self) -> None:
        self._spares: dict[str, list[Spare]] = {}

    def __iter__(self) -> Iterator[Spare]:
        for spares in list(self._spares.values()):
            yield from list(spares)

    def put(self, spare: Spare) -> None:
        """One more is ready."""
        self._spares.setdefault(spare.spec.template, []).append(spare)

    def take(self, template: str, suits: Callable[[Spare], bool] = lambda _: True) -> Spare | None:
        """The first that suits, which is then not here any more."""
        for spare in self._spares.get(template, ()):
            if suits(spare):
                return self.remove(spare.key)
        return None

    def take_newest(self, template: str) -> Spare | None:
        """The one that would be claimed last."""
        spares = self._spares.get(template)
        return self.remove(spares[-1].key) if spares else None

    def remove(self, key: MachineKey) -> Spare | None:
        """This very one; None if somebody has taken it."""
        for template, spares in self._spares.items():
            for place, spare in enumerate(spares):
                if spare.key == key:
                    del spares[place]
                    if not spares:
                        del self._spares[template]
                    return spare
        return None

    def warmed(self, key: MachineKey) -> bool:
        """Its interpreter waits now; whether it is still here."""
        for spares in self._spares.values():
            for place, spare in enumerate(spares):
                if spare.key == key:
                    spares[place] = replace(spare, warm=True)
                    return True
        return False

    def cold(self, count: int) -> list[Spare]:
        """Among the first `count` of each template, those whose interpreter is not warm."""
        return [spare for spares in self._spares.values() for spare in spares[:count] if not spare.warm]

    def ready(self) -> dict[str, int]:
        """How many of each template."""
        return {template: len(spares) for template, spares in self._spares.items()}
