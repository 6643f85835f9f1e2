"""A batch's columns: views of the buffers that crossed. Nothing is copied before it is read."""

from collections.abc import Iterator

from .schema import BOOLEAN, FORMATS, LIST, UTF8

# The bits of each byte, least significant first, as truth values.
BITS = [tuple(bool(byte >> bit & 1) for bit in range(8)) for byte in range(256)]


def bits(bitmap: bytes, rows: int) -> list[bool]:
    """A bitmap as truth values, a row each."""
    out: list[bool] = []
    for byte in bitmap[: (rows + 7) // 8]:
        out += BITS[byte]
    del out[rows:]
    return out


def slices(of, offsets: memoryview) -> list:
    """What lies between each offset and the next."""
    ends = offsets.tolist()
    return [of[begin:end] for begin, end in zip(ends, ends[1:])]


class Column:
    """A required column, as a plan gave it: the handle by which rows and batches are asked for it."""

    __slots__ = ("place", "data_type", "elements", "first")

    def __init__(self, place: int, *types: str, first: int | None = None):
        self.place = place
        # Of a list the elements' types follow, outermost first.
        self.data_type = types[0]
        # A list's elements, as a column of the batch that `Batch.elements` gives.
        self.elements = Column(0, *types[1:]) if types[1:] else None
        # Where its buffers begin: those of a list's elements stand behind the list's own.
        self.first = place if first is None else first


class Batch:
    """Some rows, by the columns that the plan requires."""

    def __init__(self, rows: int, buffers: list, columns: list[Column]):
        self.rows = rows
        self.rejects: list[tuple[int, str, str]] = []
        self._buffers = buffers
        self._lists: list[list | None] = [None] * len(columns)
        self._columns = columns

    def reject(self, row: int, code: str, message: str) -> None:
        """This row cannot become a document, as `Reject` says; whatever else is answered for it."""
        self.rejects.append((row, code, message))

    def values(self, column: Column) -> memoryview:
        """A column of numbers, dates or times without a copy; what stands at a null means nothing."""
        return memoryview(self._buffers[column.first].values).cast(FORMATS[column.data_type])

    def valid(self, column: Column) -> list[bool] | None:
        """Which rows have a value; none where all have."""
        validity = self._buffers[column.first].validity
        return None if validity is None else bits(validity, self.rows)

    def offsets(self, column: Column) -> memoryview:
        """Where the texts of a column begin and end in `data`."""
        return memoryview(self._buffers[column.first].offsets).cast("i")

    def data(self, column: Column) -> bytes:
        """The texts of a column, one after the other."""
        return self._buffers[column.first].values

    def elements(self, column: Column) -> "Batch":
        """The elements of a column of lists, one list after the other, as a batch with the one column `column.elements`;
        `offsets` tells where each row's begin and end."""
        rows = self.offsets(column)[self.rows]
        return Batch(rows, self._buffers[column.first + 1 :], [column.elements])

    def column(self, column: Column) -> list:
        """All rows' values as a list, none where there is no value. Made once a batch, when it is first asked for. A value of a column
        of lists is a list."""
        made = self._lists[column.place]
        if made is None:
            made = self._lists[column.place] = self._make(column)
        return made

    def _make(self, column: Column) -> list:
        if column.data_type in FORMATS:
            out = self.values(column).tolist()
        elif column.data_type == BOOLEAN:
            out = bits(self.data(column), self.rows)
        elif column.data_type == LIST:
            out = slices(self.elements(column).column(column.elements), self.offsets(column))
        else:
            out = self._texts(column)
        valid = self.valid(column)
        return out if valid is None else [value if there else None for value, there in zip(out, valid)]

    def _texts(self, column: Column) -> list:
        data, ends = self.data(column), self.offsets(column)
        if column.data_type != UTF8:
            return slices(data, ends)
        text = data.decode()
        if len(text) == len(data):  # ASCII: an offset in bytes is one in characters
            return slices(text, ends)
        return [part.decode() for part in slices(data, ends)]

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
