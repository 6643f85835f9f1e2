package main

import (
	"errors"
	"fmt"
	"math"

	tidemill "github.com/tidemill/tidemill/sdk/go"
)

const day = 86_400_000_000

// label is what a transform of columns does, with names of documents where twice is set.
type label struct {
	labels

	id, at      tidemill.NumberColumn[int64]
	price, name tidemill.TextColumn
	active      tidemill.BoolColumn
	score       tidemill.NumberColumn[float64]

	echoes               []echo
	op, namespace, table tidemill.TextColumn
	time, was            tidemill.NumberColumn[int64]
}

func openLabels(settings labels, plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	t := &label{labels: settings}
	var errs [11]error
	t.id, errs[0] = plan.Int64("id")
	t.price, errs[1] = plan.Text("price")
	t.name, errs[2] = plan.Text("name")
	t.active, errs[3] = plan.Bool("active")
	t.at, errs[4] = plan.Int64("at")
	t.score, errs[5] = plan.Float64("score")
	plan.PassAllBut(append([]string{"active"}, echoed...)...)
	plan.Make("label", tidemill.Utf8)
	plan.Make("cents", tidemill.Int64)
	plan.Make("early", tidemill.Boolean)
	t.echoes, errs[6] = echoes(plan)
	plan.PassFact(tidemill.LSN, "lsn")
	t.op, errs[7] = plan.Fact(tidemill.Op)
	t.namespace, errs[8] = plan.Fact(tidemill.Namespace)
	t.table, errs[9] = plan.Fact(tidemill.Table)
	t.time = plan.CommitTime()
	t.was, errs[10] = plan.Old().Int64("quantity")
	plan.Make("told", tidemill.Utf8)
	plan.Make("timed", tidemill.Boolean)
	plan.Make("was", tidemill.Int64)
	if t.Twice {
		for _, name := range []string{"_id", "_index", "_routing"} {
			plan.Make(name, tidemill.Utf8)
		}
		plan.Many()
	}
	return t, errors.Join(errs[:]...)
}

func (t *label) Process(batch *tidemill.Batch) (tidemill.Transformed, error) {
	id, at, price, name := t.id.In(batch), t.at.In(batch), t.price.In(batch), t.name.In(batch)
	active, score := t.active.In(batch), t.score.In(batch)
	labels, cents := tidemill.NewTexts(batch.Rows()), tidemill.NewNumbers[int64](batch.Rows())
	early, timed := tidemill.NewBools(), tidemill.NewBools()
	told, before := tidemill.NewTexts(batch.Rows()), tidemill.NewNumbers[int64](batch.Rows())
	ids, indices, routings := tidemill.NewTexts(batch.Rows()), tidemill.NewTexts(batch.Rows()), tidemill.NewTexts(batch.Rows())
	op, namespace, table := t.op.In(batch), t.namespace.In(batch), t.table.In(batch)
	time, was := t.time.In(batch), t.was.In(batch)
	columns := []tidemill.Made{labels, cents, early}
	echo := make([]func(row int), len(t.echoes))
	for i, begin := range t.echoes {
		var made tidemill.Made
		made, echo[i] = begin(batch)
		columns = append(columns, made)
	}
	columns = append(columns, told, timed, before)
	if t.Twice {
		columns = append(columns, ids, indices, routings)
	}
	row := func(row int) (int, error) {
		isActive, known := active.Get(row)
		if known && !isActive {
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
		if t.Twice && !known {
			documents = 2
		}
		for n := range documents {
			// Appended first, so that a reject has something to take back.
			when, dated := at.Get(row)
			if dated {
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
				index := "things-on"
				if !known {
					index = "things-unknown"
				}
				ids.Append(fmt.Sprintf("%d-%d", key, n))
				indices.Append(index)
				routings.Append(fmt.Sprintf("r%d", key%7))
			}
			for _, echo := range echo {
				echo(row)
			}
			o, _ := op.Get(row)
			s, _ := namespace.Get(row)
			r, _ := table.Get(row)
			told.Append(fmt.Sprintf("%s %s.%s", o, s, r))
			_, hasTime := time.Get(row)
			timed.Append(hasTime)
			if q, ok := was.Get(row); ok {
				before.Append(q)
			} else {
				before.AppendNull()
			}
			if named {
				labels.Append(fmt.Sprintf("%s%s #%d %s %s", t.Prefix, short(title), key, amount, date(when, dated)))
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
