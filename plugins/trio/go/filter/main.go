// The filter of the trio: the same as in rust/ and python/, byte for byte.
package main

import (
	"errors"
	"math"
	"strings"

	tidemill "github.com/tidemill/tidemill/sdk/go"
	"github.com/tidemill/tidemill/sdk/go/filter"
)

func init() { filter.Serve(open) }

func main() {}

type settings struct {
	AtLeast int64  `json:"at_least"`
	Without string `json:"without"`
}

type enough struct {
	settings
	quantity tidemill.NumberColumn[int64]
	name     tidemill.TextColumn
}

func open(config tidemill.Config, plan *tidemill.FilterPlan) (tidemill.Filter, error) {
	f := &enough{}
	if err := config.Into(&f.settings); err != nil {
		return nil, err
	}
	var err error
	if f.quantity, err = plan.Int64("quantity"); err != nil {
		return nil, err
	}
	f.name, err = plan.Text("name")
	return f, err
}

func (f *enough) Process(batch *tidemill.Batch) (tidemill.Verdict, error) {
	quantity, name := f.quantity.In(batch), f.name.In(batch)
	return tidemill.KeepRows(batch, func(row int) (bool, error) {
		q, counted := quantity.Get(row)
		n, named := name.Get(row)
		if !counted && !named {
			return false, tidemill.Reject("empty", "`quantity` and `name` are both null")
		}
		if counted && q == math.MinInt64 {
			return false, errors.New("`quantity` has no magnitude")
		}
		return counted && q >= f.AtLeast && !(named && strings.Contains(n, f.Without)), nil
	})
}
