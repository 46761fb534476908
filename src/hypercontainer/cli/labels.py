"""Labels in listings: as one text, and each by its key."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Labels(str):
    """``a=b,c=d``."""

    __slots__ = ("_labels",)
    _labels: Mapping[str, str]

    def __new__(cls, labels: Mapping[str, str]) -> Labels:
        made = super().__new__(cls, ",".join(f"{key}={value}" for key, value in labels.items()))
        made._labels = labels
        return made

    def label(self, key: str) -> str:
        return self._labels.get(key, "")


class LabelTitle(Labels):
    """Above a column of labels: ``title``, or of one the last part of its key, as with Docker."""

    __slots__ = ()

    def __new__(cls, title: str) -> LabelTitle:
        return str.__new__(cls, title)

    def label(self, key: str) -> str:
        return key.rpartition(".")[2].replace("-", " ").replace("_", " ")
