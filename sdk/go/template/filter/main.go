// A filter: keeps the rows whose name has a word in it, as it is written: capitals count.
package main

import (
	"errors"
	"strings"

	tidemill "github.com/tidemill/tidemill/sdk/go"
	"github.com/tidemill/tidemill/sdk/go/filter"
)

func init() { filter.Serve(open) }

func main() {}

// settings is what stands under `config:` of the stage; other keys are refused. A pointer is nil where there is none.
type settings struct {
	Word *string `json:"word"`
}

type plugin struct {
	name tidemill.TextColumn
	word string
}

// open runs once for each table: it asks for the columns that are needed. Nothing else ever gets here.
func open(config tidemill.Config, plan *tidemill.FilterPlan) (tidemill.Filter, error) {
	var settings settings
	if err := config.Into(&settings); err != nil {
		return nil, err
	}
	if settings.Word == nil {
		return nil, errors.New("the plugin's config: `word` is missing")
	}
	name, err := plan.Text("name")
	return &plugin{name, *settings.Word}, err
}

// Process gets a batch of up to some ten thousand rows, and says which of them stay.
func (p *plugin) Process(batch *tidemill.Batch) (tidemill.Verdict, error) {
	names := p.name.In(batch)
	return tidemill.KeepRows(batch, func(row int) (bool, error) {
		// False is NULL. An error made by tidemill.Reject makes the row a dead letter.
		name, there := names.Get(row)
		return there && strings.Contains(name, p.word), nil
	})
}
