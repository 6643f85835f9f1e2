// A transform: lets all columns through, and adds one that is made of a text, as addresses of pages have it.
package main

import (
	"strings"
	"unicode"

	tidemill "github.com/tidemill/tidemill/sdk/go"
	"github.com/tidemill/tidemill/sdk/go/transform"
)

func init() { transform.Serve(open) }

// main is never called, and has to be there.
func main() {}

// plugin is what stands under `config:` of the stage, and the column that is needed.
type plugin struct {
	Column string `json:"column"`
	Makes  string `json:"makes"`

	text tidemill.TextColumn
}

// open is called once for each table: it asks for the columns that are needed, and says which come out. Nothing else ever
// gets here.
func open(config tidemill.Config, plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	p := &plugin{}
	if err := config.Into(p); err != nil {
		return nil, err
	}
	plan.PassAllBut()
	plan.Make(p.Makes, tidemill.Utf8)
	var err error
	p.text, err = plan.Text(p.Column)
	return p, err
}

// Process gets a batch of up to some ten thousand rows, and brings the made columns, a value for each row.
func (p *plugin) Process(batch *tidemill.Batch) (tidemill.Transformed, error) {
	texts, slugs := p.text.In(batch), tidemill.NewTexts(batch.Rows())
	for row := range batch.Rows() {
		if text, ok := texts.Get(row); ok {
			slugs.Append(slug(text))
		} else {
			slugs.AppendNull()
		}
	}
	return tidemill.AllRows(slugs), nil
}

func slug(text string) string {
	words := strings.FieldsFunc(text, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsNumber(c) })
	return strings.ToLower(strings.Join(words, "-"))
}
