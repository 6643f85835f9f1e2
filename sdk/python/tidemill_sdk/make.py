"""What goes back: bitmaps, and the buffers of the columns that a transform makes."""

from array import array
from itertools import accumulate

from .schema import BOOLEAN, FORMATS, UTF8, Field


def bitmap(rows: list) -> bytes:
    """A bit a row, least significant first, 1 where the row's value is true."""
    digits = "".join(["1" if row else "0" for row in rows])
    return int(digits[::-1] or "0", 2).to_bytes((len(rows) + 7) // 8, "little")


def buffers(field: Field, values: list) -> tuple[bytes | None, bytes, bytes]:
    """A made column's validity, offsets and values."""
    validity = None
    if None in values:
        validity = bitmap([value is not None for value in values])
    if field.data_type == BOOLEAN:
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


class Out:
    """What becomes of the rows of one batch. A row for which nothing is emitted is dropped."""

    def __init__(self, made: list[Field]):
        self._made = made
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
        """The row becomes a document, with these values of the made columns, none where there is no value. Called again for the
        same row, it becomes several."""
        if len(values) != len(self._made):
            names = ", ".join(field.name or "document" for field in self._made)
            raise TypeError(f"emit takes the made columns ({names}), and was given {len(values)} values")
        self.rows.append(self._row)
        self.values.append(values)

    def columns(self) -> list[tuple[bytes | None, bytes, bytes]]:
        columns = zip(*self.values) if self.values else [()] * len(self._made)
        return [buffers(field, list(column)) for field, column in zip(self._made, columns)]
