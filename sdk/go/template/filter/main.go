// A filter: keeps the rows whose text has a word in it.
package main

import (
	"strings"

	tidemill "github.com/tidemill/tidemill/sdk/go"
	"github.com/tidemill/tidemill/sdk/go/filter"
)

func init() { filter.Serve(open) }

func main() {}

// settings is what stands under `config:` of the stage.
type settings struct {
	Column string `json:"column"`
	Word   string `json:"word"`
}

type plugin struct {
	column tidemill.TextColumn
	word   string
}

// open runs once for each table: it asks for the columns that are needed. Nothing else ever gets here.
func open(config tidemill.Config, plan *tidemill.FilterPlan) (tidemill.Filter, error) {
	var settings settings
	if err := config.Into(&settings); err != nil {
		return nil, err
	}
	column, err := plan.Text(settings.Column)
	return &plugin{column, strings.ToLower(settings.Word)}, err
}

// Process gets a batch of up to some ten thousand rows, and says which of them stay.
func (p *plugin) Process(batch *tidemill.Batch) (tidemill.Verdict, error) {
	texts := p.column.In(batch)
	return tidemill.KeepRows(batch, func(row int) (bool, error) {
		// False is NULL. An error made by tidemill.Reject makes the row a dead letter.
		text, there := texts.Get(row)
		return there && strings.Contains(strings.ToLower(text), p.word), nil
	})
}
