"""What a plugin says once, when it is opened: which columns it requires, and which come out."""

from .columns import Column
from .schema import JSON, LIST, NUMERIC, PYTHON, TIMESTAMP_UTC, UTF8, Field, Schema

FACTS = ("op", "lsn", "time", "namespace", "table")


class FilterPlan:
    """The columns that a filter requires. Everything else stays with the host."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.columns: list[Column] = []
        # Pairs of "field", "old" or "fact" and a place or a fact's name.
        self.requires: list[tuple[str, int | str]] = []
        # How many buffers a batch brings: a column's, and those of a list's elements.
        self._buffers = 0

    def require(self, name: str, type: type | list) -> Column:
        """A column of the row, read as `bool`, `int`, `float`, `str` or `bytes`, or a column of lists, read as `[str]`, `[[int]]` and
        so on. Dates and times are whole numbers (days, or microseconds, since 1970), numerics and JSON are texts."""
        return self._require("field", find(self.schema.fields, name, self._table()), type, self.schema.fields)

    def require_old(self, name: str, type: type | list) -> Column:
        """The same of the row as it was before its change."""
        return self._require("old", find(self.schema.old, name, "the row before its change"), type, self.schema.old)

    def require_fact(self, fact: str) -> Column:
        """What is known of the row's change: `op`, `lsn`, `namespace` and `table` are texts, `time` a whole number."""
        return self._add("fact", check_fact(fact), TIMESTAMP_UTC if fact == "time" else UTF8)

    def _require(self, source: str, place: int, type: type | list, fields: list[Field]) -> Column:
        depth, element = unwrap(type)
        if element not in PYTHON:
            raise ValueError(f"a column is read as bool, int, float, str or bytes, or a list of these, not as {said(type)}")
        is_ = types(fields, place)
        if len(is_) != depth + 1 or is_[-1] not in PYTHON[element]:
            raise ValueError(f"column `{fields[place].name}` is {' of '.join(is_)}, which is not read as {said(type)}")
        return self._add(source, place, *is_)

    def _add(self, source: str, place: int | str, *types: str) -> Column:
        if (source, place) in self.requires:  # it crosses once
            return self.columns[self.requires.index((source, place))]
        column = Column(len(self.columns), *types, first=self._buffers)
        self._buffers += len(types)
        self.columns.append(column)
        self.requires.append((source, place))
        return column

    def _table(self) -> str:
        return f"table `{self.schema.namespace}.{self.schema.table}`"


class TransformPlan(FilterPlan):
    """The columns that a transform requires, and those that come out, in the order in which they are named here."""

    def __init__(self, schema: Schema):
        super().__init__(schema)
        # ("pass", source, place, name) or ("make", fields), the fields of a list's elements behind its own
        self.outputs: list[tuple] = []
        self.brings_documents = False
        self.is_many = False
        self.naming = "row"

    def pass_(self, name: str, as_: str | None = None) -> None:
        """Lets a column out as it is, or under another name; it does not cross into the plugin for that."""
        self.outputs.append(("pass", "field", find(self.schema.fields, name, self._table()), as_ or name))

    def pass_all_but(self, *names: str) -> None:
        """Lets all columns out but these."""
        for place, field in own(self.schema.fields):
            if field.name not in names:
                self.outputs.append(("pass", "field", place, field.name))

    def pass_fact(self, fact: str, as_: str) -> None:
        """Lets out what is known of the change."""
        self.outputs.append(("pass", "fact", check_fact(fact), as_))

    def pass_old(self, name: str, as_: str) -> None:
        """Lets out a column of the row as it was before its change."""
        self.outputs.append(("pass", "old", find(self.schema.old, name, "the row before its change"), as_))

    def make(self, name: str, data_type: str | list, extension: str | None = None) -> None:
        """Lets out a column that each answer brings. The values that `out.emit` takes are in the order of these calls. A column of
        lists is made as `[UTF8]`, `[[INT32]]` and so on; the extension is that of the innermost elements."""
        depth, element = unwrap(data_type)
        if element == LIST:
            raise ValueError(f"`{name}`: a list tells its elements, as in [UTF8] or [[INT32]]")
        names = [name] + [""] * depth
        fields = [Field(name, LIST) for name in names[:-1]]
        self.outputs.append(("make", [*fields, Field(names[-1], element, extension)]))

    def make_json(self, name: str) -> None:
        """Likewise of JSON, given as a dictionary, a list or so, or as text that is JSON already."""
        self.make(name, UTF8, JSON)

    def make_numeric(self, name: str) -> None:
        """Likewise of exact numbers, given as digits."""
        self.make(name, UTF8, NUMERIC)

    def documents(self) -> None:
        """Each answer brings whole documents: `out.emit` takes first a dictionary, or a JSON object as text. What is passed or made is
        then `_id`, `_index` and `_routing`, as far as this stage gives them."""
        self.brings_documents = True

    def many(self) -> None:
        """One row may become several documents: each then needs an `_id`."""
        self.is_many = True

    def named_by_key(self) -> None:
        """`_id`, `_index` and `_routing` are made of the table's key alone. Otherwise they may be made of any column, which needs
        a table with REPLICA IDENTITY FULL."""
        self.naming = "key"

    def made(self) -> list[list[Field]]:
        """The columns that an answer brings, each as its field and behind it those of its elements."""
        made = [output[1] for output in self.outputs if output[0] == "make"]
        return [[Field("", UTF8, JSON)], *made] if self.brings_documents else made


def unwrap(of) -> tuple:
    """How deep a type is in lists, and the type."""
    depth = 0
    while isinstance(of, list):
        if len(of) != 1:
            raise ValueError("a list has elements of one type: [str], [[INT32]]")
        depth, of = depth + 1, of[0]
    return depth, of


def said(of) -> str:
    depth, of = unwrap(of)
    return "[" * depth + getattr(of, "__name__", str(of)) + "]" * depth


def types(fields: list[Field], place: int) -> list[str]:
    """A column's type and behind it, of a list, those of its elements."""
    out = [fields[place].data_type]
    while out[-1] == LIST and place + len(out) < len(fields):
        out.append(fields[place + len(out)].data_type)
    return out


def own(fields: list[Field]):
    """The columns with their places; a list's elements have a field behind it, and are no column."""
    inside = False
    for place, field in enumerate(fields):
        if not inside:
            yield place, field
        inside = field.data_type == LIST


def find(fields: list[Field], name: str, where: str) -> int:
    for place, field in own(fields):
        if field.name == name:
            return place
    there = ", ".join(f"`{field.name}`" for _, field in own(fields))
    raise ValueError(f"{where} has no column `{name}`; it has {there}")


def check_fact(fact: str) -> str:
    if fact not in FACTS:
        raise ValueError(f"there is no fact `{fact}`, only {', '.join(FACTS)}")
    return fact
