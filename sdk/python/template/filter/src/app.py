"""A filter: keeps the rows whose name has a word in it, as it is written: capitals count."""

from tidemill_sdk import filter


@filter
class Plugin:
    def __init__(self, config, plan):
        """Once for each table: asks for the columns that are needed. Nothing else ever gets here."""
        # `config` is what stands under `config:` of the stage.
        self.word = config.pop("word")
        if config:
            raise ValueError(f"there is no setting called {', '.join(config)}; there is: word")
        self.name = plan.require("name", str)

    def keep(self, row):
        """Whether a row stays. `raise Reject(code, message)` makes it a dead letter."""
        name = row[self.name]
        # None is NULL.
        return name is not None and self.word in name
