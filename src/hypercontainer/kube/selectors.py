"""Label selectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import names

if TYPE_CHECKING:
    from lightkube.models import meta_v1


def selects(selector: meta_v1.LabelSelector, labels: Mapping[str, str], where: str) -> bool:
    """An empty selector selects everything, which no workload may want."""
    wanted = names.labels(selector.matchLabels, f"{where}.matchLabels")
    if not wanted and not selector.matchExpressions:
        raise InvalidArgument(f"{where}: is empty", hint="matchLabels, as in the template's labels")
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_matches(one, labels, where) for one in selector.matchExpressions or ())


def _matches(one: meta_v1.LabelSelectorRequirement, labels: Mapping[str, str], where: str) -> bool:
    values = one.values or []
    if one.operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
        raise InvalidArgument(f"{where}.matchExpressions: {one.operator[:60]!r} is no operator")
    if bool(values) != (one.operator in ("In", "NotIn")):
        raise InvalidArgument(f"{where}.matchExpressions: values go with In and NotIn, and only with these")
    if one.operator in ("Exists", "DoesNotExist"):
        return (one.key in labels) == (one.operator == "Exists")
    return (labels.get(one.key) in values) == (one.operator == "In")
