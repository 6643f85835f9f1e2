// A filter: keeps the rows whose text has a word in it.
package main

import (
	"strings"

	tidemill "github.com/tidemill/tidemill/sdk/go"
	"github.com/tidemill/tidemill/sdk/go/filter"
)

func init() { filter.Serve(open) }

// main is never called, and has to be there.
func main() {}

// plugin is what stands under `config:` of the stage, and the column that is needed.
type plugin struct {
	Column string `json:"column"`
	Word   string `json:"word"`

	text tidemill.TextColumn
}

// open is called once for each table: it asks for the columns that are needed. Nothing else ever gets here.
func open(config tidemill.Config, plan *tidemill.FilterPlan) (tidemill.Filter, error) {
	p := &plugin{}
	if err := config.Into(p); err != nil {
		return nil, err
	}
	var err error
	p.text, err = plan.Text(p.Column)
	return p, err
}

// Process gets a batch of up to some ten thousand rows, and says which of them stay.
func (p *plugin) Process(batch *tidemill.Batch) (tidemill.Verdict, error) {
	texts := p.text.In(batch)
	return tidemill.KeepRows(batch, func(row int) (bool, error) {
		text, ok := texts.Get(row)
		return ok && hasWord(text, p.Word), nil // not ok is NULL
	})
}

func hasWord(text, word string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(word))
}
