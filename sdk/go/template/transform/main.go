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

// settings is what stands under `config:` of the stage; other keys are refused.
type settings struct {
	Between string `json:"between"`
}

type plugin struct {
	name    tidemill.TextColumn
	between string
}

// open runs once for each table: it asks for the columns that are needed, and says which come out. Nothing else ever gets here.
func open(config tidemill.Config, plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	settings := settings{Between: "-"}
	if err := config.Into(&settings); err != nil {
		return nil, err
	}
	name, err := plan.Text("name")
	if err != nil {
		return nil, err
	}
	plan.PassAllBut()
	plan.Make("slug", tidemill.Utf8)
	return &plugin{name, settings.Between}, nil
}

// Process gets a batch of up to some ten thousand rows, and brings the made columns, a value for each row.
func (p *plugin) Process(batch *tidemill.Batch) (tidemill.Transformed, error) {
	names, slugs := p.name.In(batch), tidemill.NewTexts(batch.Rows())
	for row := range batch.Rows() {
		// False is NULL.
		if name, there := names.Get(row); there {
			slugs.Append(slug(name, p.between))
		} else {
			slugs.AppendNull()
		}
	}
	return tidemill.AllRows(slugs), nil
}

func slug(text, between string) string {
	words := strings.FieldsFunc(text, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsNumber(c) })
	return strings.ToLower(strings.Join(words, between))
}
