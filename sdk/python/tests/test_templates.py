"""The templates' plugins, on the rows of their cases."""

import json
import runpy
import unittest
from pathlib import Path

import tidemill_sdk.plugin
from tidemill_sdk import INT64, NUMERIC, UTF8, Field, Schema
from tidemill_sdk.plugin import OpenFilter, OpenTransform

from .test_sdk import sent

TEMPLATES = Path(__file__).parent.parent / "template"
TABLE = Schema("public", "products", ["id"], [Field("id", INT64), Field("name", UTF8), Field("price", UTF8, NUMERIC)])


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


class Templates(unittest.TestCase):
    def open(self, kind, world):
        case = TEMPLATES / kind / "cases" / "first"
        runpy.run_path(str(TEMPLATES / kind / "src" / "app.py"))
        plugin = world((case / "config.json").read_text(), TABLE)
        rows = lines(case / "rows.ndjson")
        return plugin, rows, lines(case / "documents.ndjson"), [sent(UTF8, [row["name"] for row in rows])]

    def tearDown(self):
        tidemill_sdk.plugin.registered = None

    def test_the_filter(self):
        plugin, rows, documents, columns = self.open("filter", OpenFilter)
        keep, rejects = plugin.process(len(rows), columns)
        kept = [row["id"] for place, row in enumerate(rows) if keep[0] >> place & 1]
        self.assertEqual((kept, rejects), ([document["id"] for document in documents], []))

    def test_the_transform(self):
        plugin, rows, documents, columns = self.open("transform", OpenTransform)
        picked, made, rejects = plugin.process(len(rows), columns)
        expected = sent(UTF8, [document["slug"] for document in documents])
        self.assertEqual((picked, rejects), ([0, 1, 2, 3], []))
        self.assertEqual(made, [(expected.validity, expected.offsets, expected.values)])
