"""What a cell puts out, with the secrets of its VM hidden in it."""

from __future__ import annotations

from vmpool.domain.code_context import CellOutput, Raised, Shown, Text
from vmpool.domain.secret import Mask, MaskedStream


class Hiding:
    """For one cell: written text is hidden in whatever pieces it comes, values and errors each by itself."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._streams = {name: MaskedStream(mask) for name in ("stdout", "stderr")}

    def shown(self, output: CellOutput) -> list[CellOutput]:
        """What can be let out with this; what may be the beginning of a value is held back."""
        if isinstance(output, Text):
            return _text(
                output.stream, self._streams[output.stream].feed(output.text.encode("utf-8", "replace"))
            )
        if isinstance(output, Shown):
            forms = {mime: self._hidden(form) for mime, form in output.forms.items()}
            return [*self.rest(), Shown(forms, output.result)]
        hide = self._mask_text
        return [*self.rest(), Raised(hide(output.name), hide(output.value), hide(output.trace))]

    def rest(self) -> list[CellOutput]:
        """What is held back."""
        return [text for name, stream in self._streams.items() for text in _text(name, stream.end())]

    def _hidden(self, form: object) -> object:
        """Depth is bounded by who parsed it."""
        if isinstance(form, str):
            return self._mask_text(form)
        if isinstance(form, dict):
            return {self._mask_text(name): self._hidden(value) for name, value in form.items()}
        if isinstance(form, list):
            return [self._hidden(value) for value in form]
        return form

    def _mask_text(self, text: str) -> str:
        return self._mask.hide(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _text(stream: str, data: bytes) -> list[CellOutput]:
    return [Text(stream, data.decode("utf-8", "replace"))] if data else []
