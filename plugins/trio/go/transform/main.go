// The transform of the trio: the same as in rust/ and python/, byte for byte.
package main

import (
	"fmt"
	"math"

	tidemill "github.com/tidemill/tidemill/sdk/go"
	"github.com/tidemill/tidemill/sdk/go/transform"
)

func init() { transform.Serve(open) }

func main() {}

const day = 86_400_000_000

type label struct {
	Prefix string `json:"prefix"`
	Twice  bool   `json:"twice"`

	id, at      tidemill.NumberColumn[int64]
	price, name tidemill.TextColumn
	active      tidemill.BoolColumn
	score       tidemill.NumberColumn[float64]
}

func open(config tidemill.Config, plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	t := &label{}
	if err := config.Into(t); err != nil {
		return nil, err
	}
	errs := [6]error{}
	t.id, errs[0] = plan.Int64("id")
	t.price, errs[1] = plan.Text("price")
	t.name, errs[2] = plan.Text("name")
	t.active, errs[3] = plan.Bool("active")
	t.at, errs[4] = plan.Int64("at")
	t.score, errs[5] = plan.Float64("score")
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	plan.PassAllBut("active")
	plan.Make("label", tidemill.Utf8)
	plan.Make("cents", tidemill.Int64)
	plan.Make("early", tidemill.Boolean)
	if t.Twice {
		plan.Make("_id", tidemill.Utf8)
		plan.Many()
	}
	return t, nil
}

func (t *label) Process(batch *tidemill.Batch) (tidemill.Transformed, error) {
	id, at, price, name := t.id.In(batch), t.at.In(batch), t.price.In(batch), t.name.In(batch)
	active, score := t.active.In(batch), t.score.In(batch)
	labels, cents := tidemill.NewTexts(batch.Rows()), tidemill.NewNumbers[int64](batch.Rows())
	early, ids := tidemill.NewBools(), tidemill.NewTexts(batch.Rows())
	columns := []tidemill.Made{labels, cents, early}
	if t.Twice {
		columns = append(columns, ids)
	}
	row := func(row int) (int, error) {
		isActive, told := active.Get(row)
		if told && !isActive {
			return 0, nil
		}
		key, _ := id.Get(row)
		amount, priced := price.Get(row)
		if priced && amount == "NaN" {
			return 0, tidemill.Reject("price", "`price` is not a number")
		}
		title, named := name.Get(row)
		points, scored := score.Get(row)
		if !named && !scored {
			return 0, tidemill.Reject("empty", "`name` and `score` are both null")
		}
		if !priced {
			amount = "?"
		}
		documents := 1
		if t.Twice && !told {
			documents = 2
		}
		for n := range documents {
			// Appended first, so that a reject has something to take back.
			when, timed := at.Get(row)
			if timed {
				early.Append(when < 0)
			} else {
				early.AppendNull()
			}
			whole := int64(0)
			if scored = scored && math.Abs(points) < 1e9; scored {
				whole = int64(math.Floor(points * 100))
				cents.Append(whole)
			} else {
				cents.AppendNull()
			}
			if t.Twice {
				ids.Append(fmt.Sprintf("%d-%d", key, n))
			}
			if named {
				labels.Append(fmt.Sprintf("%s%s #%d %s %s", t.Prefix, short(title), key, amount, date(when, timed)))
			} else {
				labels.AppendNull()
			}
			if whole == 66_600 {
				return 0, tidemill.Reject("score", "`score` is %d", whole)
			}
		}
		return documents, nil
	}
	return tidemill.MapRows(batch, row, columns...)
}

// short is a text's first 12 characters.
func short(text string) string {
	count := 0
	for at := range text {
		if count == 12 {
			return text[:at] + "…"
		}
		count++
	}
	return text
}

// date is the day since 1970 that a time falls on.
func date(at int64, timed bool) string {
	switch {
	case !timed:
		return "never"
	case at == math.MaxInt64:
		return "∞"
	case at == math.MinInt64:
		return "-∞"
	}
	days := at / day
	if at%day < 0 {
		days--
	}
	return fmt.Sprint(days)
}
