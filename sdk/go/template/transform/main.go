// A transform: lets all columns through, and adds one that is made of a text, as addresses of pages have it.
package main

import (
	"strings"
	"unicode"

	tidemill "github.com/tidemill/tidemill/sdk/go"
	"github.com/tidemill/tidemill/sdk/go/transform"
)

func init() { transform.Serve(open) }

func main() {}

// settings is what stands under `config:` of the stage.
type settings struct {
	Column string `json:"column"`
	Makes  string `json:"makes"`
}

type plugin struct {
	column tidemill.TextColumn
}

// open runs once for each table: it asks for the columns that are needed, and says which come out. Nothing else ever gets here.
func open(config tidemill.Config, plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	var settings settings
	if err := config.Into(&settings); err != nil {
		return nil, err
	}
	column, err := plan.Text(settings.Column)
	if err != nil {
		return nil, err
	}
	plan.PassAllBut()
	plan.Make(settings.Makes, tidemill.Utf8)
	return &plugin{column}, nil
}

// Process gets a batch of up to some ten thousand rows, and brings the made columns, a value for each row.
func (p *plugin) Process(batch *tidemill.Batch) (tidemill.Transformed, error) {
	texts, slugs := p.column.In(batch), tidemill.NewTexts(batch.Rows())
	for row := range batch.Rows() {
		// False is NULL.
		if text, there := texts.Get(row); there {
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
