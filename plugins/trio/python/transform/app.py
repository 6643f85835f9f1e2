"""The transform of the trio: the same as in rust/ and go/, byte for byte. Its configuration says which of four it is."""

from documents import Documents
from labels import Labels
from lists import Lists, Turned
from tidemill_sdk import transform

KINDS = {"labels": Labels, "lists": Lists, "turned": Turned, "documents": Documents}


@transform
class Trio:
    def __init__(self, config, plan):
        self.kind = KINDS[config["kind"]](config, plan)

    def row(self, row, out):
        self.kind.row(row, out)
