"""A transform: lets all columns through, and adds one that is made of a text, as addresses of pages have it."""

import re

from tidemill_sdk import UTF8, transform


@transform
class Plugin:
    def __init__(self, config, plan):
        """Once for each table: asks for the columns that are needed, and says which come out. Nothing else ever gets here."""
        self.text = plan.require(config["column"], str)
        plan.pass_all_but()
        plan.make(config["makes"], UTF8)

    def row(self, row, out):
        """Emits what is made of a row; one that emits nothing is dropped."""
        text = row[self.text]  # None is NULL
        out.emit(None if text is None else slug(text))


def slug(text):
    return "-".join(re.findall(r"[^\W_]+", text)).lower()
