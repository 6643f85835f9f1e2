"""The SDK in plain Python: `python3 -m unittest` in sdk/python."""

import struct
import unittest
import unittest.mock
from types import SimpleNamespace

import tidemill_sdk.plugin
from tidemill_sdk import (
    BINARY, BOOLEAN, DATE32, FLOAT32, INT16, INT32, INT64, JSON, LIST, NUMERIC, UINT32, UTF8, Fatal, Field, Json, Reject, Retry, Schema,
    filter, transform,
)
from tidemill_sdk.columns import Batch, Column
from tidemill_sdk.errors import trace_of
from tidemill_sdk.make import bitmap, buffers, columns, json_text
from tidemill_sdk.plan import TransformPlan
from tidemill_sdk.plugin import OpenFilter, OpenTransform

FIELDS = [
    Field("id", INT64), Field("tags", LIST), Field("element", UTF8), Field("name", UTF8), Field("active", BOOLEAN),
]
LISTED = Schema("public", "things", ["id"], [
    Field("id", INT64), Field("tags", LIST), Field("", UTF8), Field("grid", LIST), Field("", LIST), Field("", DATE32), Field("name", UTF8),
], [Field("tags", LIST), Field("", UTF8)])
TABLE = Schema("public", "things", ["id"], FIELDS, FIELDS[:1])


def sent(data_type, values):
    """A column as the host would send it."""
    return SimpleNamespace(**dict(zip(("validity", "offsets", "values"), buffers(Field("", data_type), values))))


def sent_lists(*types, values):
    """A column of lists likewise: its buffers, and those of its elements."""
    made = columns([Field("", data_type) for data_type in types], values)
    return [SimpleNamespace(validity=validity, offsets=offsets, values=data) for validity, offsets, data in made]


class Columns(unittest.TestCase):
    def test_what_is_made_is_read_as_it_was(self):
        cases = {
            INT16: [1, None, -(2**15)], INT64: [2**63 - 1, None, -(2**63)], UINT32: [2**32 - 1, 0, None],
            FLOAT32: [0.5, None, float("inf")], BOOLEAN: [True, False, None] * 7, BINARY: [b"\0\xff", None, b""],
            UTF8: ["ü👟" * n if n % 3 else None for n in range(20)],
        }
        for data_type, values in cases.items():
            for values in (values, [value for value in values if value is not None], []):
                batch = Batch(len(values), [sent(data_type, values)], [Column(0, data_type)])
                self.assertEqual(batch.column(Column(0, data_type)), values, data_type)

    def test_columns_without_nulls_have_no_bitmap(self):
        self.assertEqual(buffers(Field("", INT64), [1]), (None, b"", struct.pack("<q", 1)))
        self.assertEqual(buffers(Field("", UTF8), ["ü", None]), (b"\x01", struct.pack("<3i", 0, 2, 2), "ü".encode()))

    def test_lists_are_read_as_they_were_made(self):
        grids = [[[1, None], None, []], None, [], [[2**15 - 1]] * 3]
        texts = [["ü", None, ""], [], None, ["a", "bc"]]
        plan = TransformPlan(LISTED)
        id, grid, name, old = (
            plan.require("id", int), plan.require("grid", [[int]]), plan.require("name", str), plan.require_old("tags", [str]),
        )
        self.assertIs(plan.require("grid", [[int]]), grid)
        buffers = [
            sent(INT64, [1, 2, 3, 4]), *sent_lists(LIST, LIST, DATE32, values=grids), sent(UTF8, ["a", None, "c", "d"]),
            *sent_lists(LIST, UTF8, values=texts),
        ]
        batch = Batch(4, buffers, plan.columns)
        rows = [(row[id], row[grid], row[name], row[old]) for row in batch]
        self.assertEqual(rows, list(zip([1, 2, 3, 4], grids, ["a", None, "c", "d"], texts)))
        # By their elements, all rows' at once.
        inner = batch.elements(grid)
        self.assertEqual((batch.offsets(grid).tolist(), batch.valid(grid)), ([0, 3, 3, 3, 6], [True, False, True, True]))
        self.assertEqual(inner.valid(grid.elements), [True, False, True, True, True, True])
        numbers = inner.elements(grid.elements)
        self.assertEqual(numbers.column(grid.elements.elements), [1, None, 2**15 - 1, 2**15 - 1, 2**15 - 1])
        self.assertEqual(numbers.values(grid.elements.elements)[0], 1)
        none = Batch(0, [sent(INT64, []), *sent_lists(LIST, LIST, DATE32, values=[])], plan.columns)
        self.assertEqual(none.column(grid), [])

    def test_a_text_is_no_list_of_letters(self):
        with self.assertRaisesRegex(TypeError, "`tags` is a column of lists, and was given str"):
            columns([Field("tags", LIST), Field("", UTF8)], [["a"], "abc"])

    def test_bitmaps_of_every_length(self):
        for rows in range(20):
            bits = [row % 3 == 1 for row in range(rows)]
            made = bitmap(bits)
            self.assertEqual([made[row >> 3] >> (row & 7) & 1 == 1 for row in range(rows)], bits)
            self.assertEqual(len(made), (rows + 7) // 8)


class Filters(unittest.TestCase):
    def open(self, answer):
        @filter
        class Plugin:
            def __init__(self, config, plan):
                self.id = plan.require("id", int)

            keep = answer

        return OpenFilter("{}", TABLE)

    def test_an_error_is_a_rows_unless_it_says_otherwise(self):
        def keep(plugin, row):
            if row[plugin.id] == 2:
                raise Reject("two", "`id` is 2")
            return 10 / row[plugin.id] > 3

        keep, rejects = self.open(keep).process(4, [sent(INT64, [1, 2, 0, 5])])
        self.assertEqual(keep, b"\x01")
        self.assertEqual(rejects[0], (1, "two", "`id` is 2"))
        self.assertEqual(rejects[1][:2], (2, "failed"))
        self.assertRegex(rejects[1][2], r"^ZeroDivisionError: .*\(test_sdk\.py, line \d+\)$")

    def test_an_error_says_where_it_came_through_without_reading_a_file(self):
        with unittest.mock.patch("os.stat", side_effect=AssertionError):
            try:
                [][1]
            except IndexError as error:
                first, place = trace_of(error).split("\n")
        self.assertEqual(first, "IndexError: list index out of range")
        self.assertRegex(place, r"^  in test_sdk\.py, line \d+$")

    def test_a_row_of_a_batch_is_rejected_by_its_place(self):
        @filter
        class Plugin:
            def __init__(self, config, plan):
                self.id = plan.require("id", int)

            def keep_batch(self, batch):
                for row, id in enumerate(batch.column(self.id)):
                    if id == 2:
                        batch.reject(row, "two", "`id` is 2")
                return [True] * batch.rows

        _, rejects = OpenFilter("{}", TABLE).process(3, [sent(INT64, [1, 2, 3])])
        self.assertEqual(rejects, [(1, "two", "`id` is 2")])

        @transform
        class Made:
            def __init__(self, config, plan):
                plan.require("id", int)
                plan.make("made", INT64)

            def batch(self, batch, out):
                batch.reject(2, "last", "the last")
                for row, made in enumerate([1, "wrong"]):
                    out.begin(row)
                    out.emit(made)

        rows, _, rejects = OpenTransform("{}", TABLE).process(3, [sent(INT64, [1, 2, 3])])
        self.assertEqual((rows, [reject[:2] for reject in rejects]), ([0], [(1, "failed"), (2, "last")]))

    def test_a_batchs_failure_is_no_reject(self):
        for kind in (Retry, Fatal):
            def keep(plugin, row):
                raise kind("so")

            with self.assertRaises(kind):
                self.open(keep).process(1, [sent(INT64, [1])])

    def test_a_plugin_has_one_way_to_answer(self):
        with self.assertRaisesRegex(TypeError, "keep and keep_batch"):
            filter(type("Nothing", (), {}))


class Transforms(unittest.TestCase):
    def open(self, answer):
        @transform
        class Plugin:
            def __init__(self, config, plan):
                self.id = plan.require("id", int)
                plan.make("label", UTF8)
                plan.make("half", INT64)

            row = answer

        return OpenTransform("{}", TABLE)

    def test_rows_are_dropped_repeated_and_taken_back(self):
        def row(plugin, row, out):
            for n in range(row[plugin.id]):
                out.emit(f"{row.number}.{n}", n or None)
                if n == 3:
                    raise Reject("many", "more than 3")

        rows, (labels, halves), rejects = self.open(row).process(4, [sent(INT64, [2, 0, 9, 1])])
        self.assertEqual((rows, rejects), ([0, 0, 3], [(2, "many", "more than 3")]))
        self.assertEqual(labels, (None, struct.pack("<4i", 0, 3, 6, 9), b"0.00.13.0"))
        self.assertEqual(halves[0], b"\x02")

    def test_what_is_emitted_fits_the_plan(self):
        _, _, rejects = self.open(lambda plugin, row, out: out.emit("alone")).process(1, [sent(INT64, [1])])
        self.assertIn("label, half", rejects[0][2])

    def made(self, data_type, values, extension=None):
        """What becomes of a row for each of these values of a made column."""
        @transform
        class Plugin:
            def __init__(self, config, plan):
                plan.require("id", int)
                plan.make("before", INT64)
                plan.make("made", data_type, extension)
                plan.many()

            def row(self, row, out):
                for _ in range(2):
                    out.emit(row.number, values[row.number])

        rows, columns, rejects = OpenTransform("{}", TABLE).process(len(values), [sent(INT64, [1] * len(values))])
        self.assertEqual(len(columns[0][2]), 8 * len(rows))
        self.assertTrue(all(code == "failed" for _, code, _ in rejects))
        return rows[::2], [(row, message) for row, _, message in rejects]

    def test_a_value_of_another_type_is_its_rows_reject(self):
        takes = "made column `made` takes"
        for data_type, values, wrong in [
            (INT64, [1, "2", None, 1.5], [(1, "int64, and row 1 gave str"), (3, "int64, and row 3 gave float")]),
            (INT16, [1, 40_000], [(1, "int16, and row 1 gave an int that is out of its range")]),
            (FLOAT32, [1, 0.5, b"1"], [(2, "float32, and row 2 gave bytes")]),
            (BOOLEAN, [True, None, "false", 0], [(2, "boolean, and row 2 gave str"), (3, "boolean, and row 3 gave int")]),
            (UTF8, ["a", 1, b"b"], [(1, "utf8, and row 1 gave int"), (2, "utf8, and row 2 gave bytes")]),
            (UTF8, ["a", "\ud800"], [(1, "utf8, and row 1 gave a str that is no Unicode text")]),
            (BINARY, [b"a", "b", bytearray(b"c")], [(1, "binary, and row 1 gave str")]),
            ([UTF8], [["a"], "abc", [1], None], [(1, "list of utf8, and row 1 gave str"), (2, "list of utf8, and row 2 gave int in a list")]),
            ([[INT32]], [[[1], None], [1], [["1"]]], [
                (1, "list of list of int32, and row 1 gave int in a list"),
                (2, "list of list of int32, and row 2 gave str in a list"),
            ]),
        ]:
            rows, rejects = self.made(data_type, values)
            self.assertEqual(rejects, [(row, f"{takes} {message}") for row, message in wrong], data_type)
            refused = {row for row, _ in wrong}
            self.assertEqual(rows, [row for row in range(len(values)) if row not in refused], data_type)

    def test_where_no_row_can_be_told_the_batch_fails(self):
        @transform
        class Plugin:
            def __init__(self, config, plan):
                plan.require("id", int)
                plan.make("made", INT64)

            def batch(self, batch, out):
                out.begin(1)
                out.emit("wrong")
                if batch.rows > 2:
                    out.values.append((1,))

        rows, _, rejects = OpenTransform("{}", TABLE).process(2, [sent(INT64, [1, 2])])
        self.assertEqual((rows, rejects[0][:2]), ([], (1, "failed")))
        with self.assertRaises(TypeError):
            OpenTransform("{}", TABLE).process(3, [sent(INT64, [1, 2, 3])])

    def test_documents_are_dictionaries_or_texts(self):
        @transform
        class Plugin:
            def __init__(self, config, plan):
                self.id = plan.require("id", int)
                plan.documents()
                plan.make("_id", UTF8)

            def row(self, row, out):
                document = {"n": row[self.id], "price": Json("1.50"), "é": ["\n", float("nan") if row[self.id] == 2 else None]}
                out.emit("{}" if row[self.id] == 3 else document, str(row[self.id]))

        rows, (documents, ids), rejects = OpenTransform("{}", TABLE).process(3, [sent(INT64, [1, 2, 3])])
        self.assertEqual(documents[2].decode(), '{"n":1,"price":1.50,"é":["\\n",null]}{}')
        self.assertEqual((rows, ids[2], rejects[0][:2]), ([0, 2], b"13", (1, "failed")))

    def test_json_is_one_line_and_nothing_else(self):
        cases = {"{}": {}, '"ü\\n"': "ü\n", '{"a":[1,1e400]}': {"a": (1, Json("1e400"))}, '{"1":{"null":0.5}}': {1: {None: Json("0.5")}}}
        for text, value in cases.items():
            self.assertEqual(json_text(value), text)
        for value in ({1, 2}, {"a": [Json("1"), {1}]}, float("inf")):
            self.assertRaises((TypeError, ValueError), json_text, value)

    def test_nothing_comes_out_of_nothing(self):
        rows, columns, rejects = self.open(lambda plugin, row, out: None).process(0, [sent(INT64, [])])
        self.assertEqual((rows, rejects, len(columns)), ([], [], 2))


class Plans(unittest.TestCase):
    def test_it_refuses_what_is_not_there(self):
        plan = TransformPlan(TABLE)
        for ask, says in [
            (lambda: plan.require("nme", int), "`public.things` has no column `nme`.*`name`"),
            (lambda: plan.require("name", int), "`name` is utf8.*int"),
            (lambda: plan.require("element", str), "no column `element`"),
            (lambda: plan.require_old("name", str), "before its change has no column `name`"),
            (lambda: plan.require_fact("when"), "no fact `when`, only op, lsn"),
            (lambda: plan.pass_("nme"), "`nme`"),
            (lambda: plan.require("tags", str), "`tags` is list of utf8, which is not read as str"),
            (lambda: plan.require("tags", [int]), r"list of utf8, which is not read as \[int\]"),
            (lambda: plan.require("tags", [[str]]), r"list of utf8, which is not read as \[\[str\]\]"),
            (lambda: plan.require("name", [str]), r"`name` is utf8, which is not read as \[str\]"),
            (lambda: plan.require("tags", [str, int]), "elements of one type"),
            (lambda: plan.require("tags", [dict]), r"or a list of these, not as \[dict\]"),
            (lambda: plan.make("tags", LIST), "tells its elements"),
        ]:
            with self.assertRaisesRegex(ValueError, says):
                ask()
        plan.pass_all_but("name")
        self.assertEqual([output[3] for output in plan.outputs], ["id", "tags", "active"])

    def test_a_column_crosses_once(self):
        plan = TransformPlan(TABLE)
        self.assertIs(plan.require("id", int), plan.require("id", int))
        self.assertIsNot(plan.require("id", int), plan.require_old("id", int))
        self.assertEqual(plan.requires, [("field", 0), ("old", 0)])

    def test_documents_come_before_what_is_made(self):
        plan = TransformPlan(TABLE)
        plan.documents()
        plan.make("_id", UTF8)
        self.assertEqual([[(field.name, field.extension) for field in fields] for fields in plan.made()], [[("", JSON)], [("_id", None)]])

    def test_made_lists_tell_their_elements(self):
        plan = TransformPlan(TABLE)
        plan.make("sums", [[UTF8]], NUMERIC)
        self.assertEqual(plan.made(), [[Field("sums", LIST), Field("", LIST), Field("", UTF8, NUMERIC)]])


def tearDownModule():
    tidemill_sdk.plugin.registered = None
