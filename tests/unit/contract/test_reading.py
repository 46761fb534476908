"""What is wrong with JSON is said without the schema's words."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from hypercontainer.contract import reading


class Inner(Struct, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=0, le=9)] = 0


class Outer(Struct, forbid_unknown_fields=True):
    must: int
    many: tuple[Inner, ...] = ()
    choice: Literal["x", "y"] = "x"
    names: dict[str, tuple[str, ...]] = {}
    form: Annotated[str, Meta(pattern="^x$", description="an x")] = "x"
    some: Annotated[tuple[str, ...], Meta(min_length=1)] = ("a",)
    pair: tuple[int, int] | None = None
    short: Annotated[str, Meta(max_length=3)] = ""
    data: bytes = b""
    share: float = 1
    flag: bool | None = None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "body: is no JSON: it ends too early"),
        ("{x", "body: is no JSON: object keys must be strings (byte 1)"),
        ("[]", "body: is a list; an object is wanted"),
        ("{}", "body: must is missing"),
        ('{"must":"x"}', "must: is a text; a whole number is wanted"),
        ('{"must":1,"may":1}', "body: there is no field 'may'"),
        ('{"must":1,"many":[{"number":10}]}', "many[0].number: is more than 9"),
        ('{"must":1,"many":[{"number":-1}]}', "many[0].number: is less than 0"),
        ('{"must":1,"many":[{"none":1}]}', "many[0]: there is no field 'none'"),
        ('{"must":1,"choice":"z"}', "choice: 'z' is not one of its values (one of x, y)"),
        ('{"must":1,"names":{"a":[1]}}', "names[...][0]: is a whole number; a text is wanted"),
        ('{"must":1,"form":"q"}', "form: is not of the form that is wanted (an x)"),
        ('{"must":1,"some":[]}', "some: is empty"),
        ('{"must":1,"pair":[1]}', "pair: has not the length 2"),
        ('{"must":1,"short":"abcd"}', "short: is longer than 3"),
        ('{"must":1,"data":"%%"}', "data: is no base64"),
        ('{"must":1,"share":"x"}', "share: is a text; a number is wanted"),
        ('{"must":1,"flag":"x"}', "flag: is a text; true or false is wanted"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(msgspec.DecodeError) as raised:
        msgspec.json.decode(text, type=Outer)
    assert str(reading.refused(raised.value, Outer, of="body")) == says
