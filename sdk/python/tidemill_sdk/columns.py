"""A batch's columns: views of the buffers that crossed. Nothing is copied before it is read."""

from collections.abc import Iterator

from .schema import BOOLEAN, FORMATS, UTF8

# The bits of each byte, least significant first, as truth values.
BITS = [tuple(bool(byte >> bit & 1) for bit in range(8)) for byte in range(256)]


def bits(bitmap: bytes, rows: int) -> list[bool]:
    """A bitmap as truth values, a row each."""
    out: list[bool] = []
    for byte in bitmap[: (rows + 7) // 8]:
        out += BITS[byte]
    del out[rows:]
    return out


class Column:
    """A required column, as a plan gave it: the handle by which rows and batches are asked for it."""

    __slots__ = ("place", "data_type")

    def __init__(self, place: int, data_type: str):
        self.place = place
        self.data_type = data_type


class Batch:
    """Some rows, by the columns that the plan requires."""

    def __init__(self, rows: int, buffers: list, columns: list[Column]):
        self.rows = rows
        self._buffers = buffers
        self._lists: list[list | None] = [None] * len(columns)
        self._columns = columns

    def values(self, column: Column) -> memoryview:
        """A column of numbers, dates or times without a copy; what stands at a null means nothing."""
        return memoryview(self._buffers[column.place].values).cast(FORMATS[column.data_type])

    def valid(self, column: Column) -> list[bool] | None:
        """Which rows have a value; none where all have."""
        validity = self._buffers[column.place].validity
        return None if validity is None else bits(validity, self.rows)

    def offsets(self, column: Column) -> memoryview:
        """Where the texts of a column begin and end in `data`."""
        return memoryview(self._buffers[column.place].offsets).cast("i")

    def data(self, column: Column) -> bytes:
        """The texts of a column, one after the other."""
        return self._buffers[column.place].values

    def column(self, column: Column) -> list:
        """All rows' values as a list, none where there is no value. Made once a batch, when it is first asked for."""
        made = self._lists[column.place]
        if made is None:
            made = self._lists[column.place] = self._make(column)
        return made

    def _make(self, column: Column) -> list:
        if column.data_type in FORMATS:
            out = self.values(column).tolist()
        elif column.data_type == BOOLEAN:
            out = bits(self.data(column), self.rows)
        else:
            out = self._slices(column)
        valid = self.valid(column)
        return out if valid is None else [value if there else None for value, there in zip(out, valid)]

    def _slices(self, column: Column) -> list:
        data, ends = self.data(column), self.offsets(column).tolist()
        pairs = zip(ends, ends[1:])
        if column.data_type != UTF8:
            return [data[begin:end] for begin, end in pairs]
        text = data.decode()
        if len(text) == len(data):  # ASCII: an offset in bytes is one in characters
            return [text[begin:end] for begin, end in pairs]
        return [data[begin:end].decode() for begin, end in pairs]

    def __iter__(self) -> "Iterator[Row]":
        """The rows. It is one object that moves on: keep values, not rows."""
        row = Row([self.column(column) for column in self._columns])
        for row.number in range(self.rows):
            yield row


class Row:
    """One row: `row[self.price]` is its value, none where it is null. `row.number` is its place in the batch."""

    __slots__ = ("number", "_columns")

    def __init__(self, columns: list[list]):
        self.number = 0
        self._columns = columns

    def __getitem__(self, column: Column):
        return self._columns[column.place][self.number]
