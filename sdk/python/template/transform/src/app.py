"""A transform: lets all columns through, and adds one that is made of a text, as addresses of pages have it."""

from tidemill_sdk import UTF8, transform


@transform
class Plugin:
    def __init__(self, config, plan):
        """Once for each table: asks for the columns that are needed, and says which come out. Nothing else ever gets here."""
        # `config` is what stands under `config:` of the stage.
        self.between = config.pop("between", "-")
        if config:
            raise ValueError(f"there is no setting called {', '.join(config)}; there is: between")
        self.name = plan.require("name", str)
        plan.pass_all_but()
        plan.make("slug", UTF8)

    def row(self, row, out):
        """Emits a row's documents: of each the made columns. `raise Reject(code, message)` makes the row a dead letter."""
        name = row[self.name]
        # None is NULL.
        out.emit(None if name is None else slug(name, self.between))


def slug(text, between):
    words = "".join(c if c.isalnum() else " " for c in text).split()
    return between.join(words).lower()
