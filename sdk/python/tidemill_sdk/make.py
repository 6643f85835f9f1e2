"""What goes back: bitmaps, and the buffers of the columns that a transform makes."""

import json
from array import array
from itertools import accumulate, chain, compress

from .errors import FAILED
from .schema import BOOLEAN, FORMATS, JSON, UTF8, Field

_plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Json:
    """JSON as a text, to put into a value that becomes JSON: a `json` column as it was read, the digits of a numeric."""

    __slots__ = ("text",)

    def __init__(self, text: str):
        self.text = text


def json_text(value) -> str:
    """A value as JSON in one line, as columns of JSON and documents have it. What JSON has not (NaN, a set) is an error."""
    try:
        return _plain(value)
    except TypeError:  # there is a `Json` in it, or what is none
        return _json_text(value)


def _json_text(value) -> str:
    if isinstance(value, Json):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join([f"{_key(key)}:{_json_text(value)}" for key, value in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_json_text, value)) + "]"
    return _plain(value)


def _key(key) -> str:
    return _plain(key) if isinstance(key, str) else _plain({key: 0})[1:-3]


def bitmap(rows: list) -> bytes:
    """A bit a row, least significant first, 1 where the row's value is true."""
    digits = "".join(["1" if row else "0" for row in rows])
    return int(digits[::-1] or "0", 2).to_bytes((len(rows) + 7) // 8, "little")


BOOLS = {bool, type(None)}


def buffers(field: Field, values: list) -> tuple[bytes | None, bytes, bytes]:
    """A made column's validity, offsets and values."""
    validity = None
    if None in values:
        validity = bitmap([value is not None for value in values])
    if field.data_type == BOOLEAN:
        if not BOOLS.issuperset(map(type, values)):  # of any value it could be told whether it is true: of "false" too
            raise TypeError(f"`{field.name}` is a column of booleans, and was given something else")
        return validity, b"", bitmap(values)
    if field.data_type in FORMATS:
        plain = values if validity is None else [0 if value is None else value for value in values]
        return validity, b"", array(FORMATS[field.data_type], plain).tobytes()
    if field.data_type == UTF8:
        parts = [b"" if value is None else value.encode() for value in values]
    else:
        parts = [b"" if value is None else value for value in values]
    offsets = array("i", accumulate(map(len, parts), initial=0))
    return validity, offsets.tobytes(), b"".join(parts)


def columns(fields: list[Field], values: list) -> list[tuple[bytes | None, bytes, bytes]]:
    """The same for a column of lists too, whose elements' fields and buffers follow its own."""
    field, *elements = fields
    if not elements:
        return [buffers(field, values)]
    wrong = set(map(type, values)) - {list, tuple, type(None)}
    if wrong:
        kinds = ", ".join(sorted(kind.__name__ for kind in wrong))
        raise TypeError(f"`{field.name}` is a column of lists, and was given {kinds}")
    validity = bitmap([value is not None for value in values]) if None in values else None
    lists = [() if value is None else value for value in values]
    offsets = array("i", accumulate(map(len, lists), initial=0))
    return [(validity, offsets.tobytes(), b""), *columns(elements, list(chain.from_iterable(lists)))]


def misfit(fields: list[Field], value) -> str | None:
    """What a value is that no column of these fields takes; none where it fits."""
    if value is None:
        return None
    field, *elements = fields
    try:
        if not elements:
            buffers(field, [value])
        elif not isinstance(value, (list, tuple)):
            return type(value).__name__
    except OverflowError:
        return f"an {type(value).__name__} that is out of its range"
    except UnicodeError:
        return "a str that is no Unicode text"
    except Exception:
        return type(value).__name__
    inside = (misfit(elements, element) for element in value) if elements else ()
    found = next(filter(None, inside), None)
    return found and found.removesuffix(" in a list") + " in a list"


class Out:
    """What becomes of the rows of one batch. A row for which nothing is emitted is dropped."""

    def __init__(self, made: list[list[Field]]):
        # The fields of each column, behind a list's own those of its elements.
        self._made = made
        self._json = [place for place, fields in enumerate(made) if fields[0].extension == JSON]
        self._row = 0
        self.rows: list[int] = []
        self.values: list[tuple] = []

    def begin(self, row: int) -> int:
        self._row = row
        return len(self.rows)

    def take_back(self, to: int) -> None:
        del self.rows[to:]
        del self.values[to:]

    def emit(self, *values) -> None:
        """The row becomes a document, with these values of the made columns, none where there is no value. A document, or a value of
        JSON, may be given as its text, or as a dictionary or list. Called again for the same row, it becomes several."""
        if len(values) != len(self._made):
            names = ", ".join(fields[0].name or "document" for fields in self._made)
            raise TypeError(f"emit takes the made columns ({names}), and was given {len(values)} values")
        for place in self._json:
            if not isinstance(values[place], (str, type(None))):
                values = (*values[:place], json_text(values[place]), *values[place + 1 :])
        self.rows.append(self._row)
        self.values.append(values)

    def finish(self, rejects: list[tuple[int, str, str]]) -> list[tuple[bytes | None, bytes, bytes]]:
        """The made columns' buffers. A row with a value that its column does not take is taken out, and added to the rejects."""
        try:
            return self._columns()
        except Exception:
            refused = self._misfits()
            if not refused:
                raise
        stays = [row not in refused for row in self.rows]
        self.rows, self.values = list(compress(self.rows, stays)), list(compress(self.values, stays))
        rejects += [(row, FAILED, message) for row, message in refused.items()]
        rejects.sort()
        return self._columns()

    def _columns(self) -> list[tuple[bytes | None, bytes, bytes]]:
        made = zip(*self.values) if self.values else [()] * len(self._made)
        return [part for fields, column in zip(self._made, made) for part in columns(fields, list(column))]

    def _misfits(self) -> dict[int, str]:
        """The rows with values that their columns do not take, and why; none where it cannot be told whose a value is."""
        refused = {}
        if len(self.rows) != len(self.values):
            return refused
        for row, values in zip(self.rows, self.values):
            for fields, value in zip(self._made, values):
                if row not in refused and (found := misfit(fields, value)):
                    takes = " of ".join(field.data_type for field in fields).replace("_", "-")
                    name = f"made column `{fields[0].name}`" if fields[0].name else "a document"
                    refused[row] = f"{name} takes {takes}, and row {row} gave {found}"
        return refused
