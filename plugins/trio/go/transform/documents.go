package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	tidemill "github.com/tidemill/tidemill/sdk/go"
)

// documents brings whole documents as JSON, named by the key alone; every fifth row becomes two.
type documents struct {
	id                    tidemill.NumberColumn[int64]
	name, price, data, op tidemill.TextColumn
}

type document struct {
	ID      int64           `json:"id"`
	N       int             `json:"n"`
	Name    *string         `json:"name"`
	Price   any             `json:"price"`
	Words   []string        `json:"words"`
	Members *int            `json:"members"`
	Data    json.RawMessage `json:"data"`
}

func openDocuments(plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	t := &documents{}
	var errs [5]error
	t.id, errs[0] = plan.Int64("id")
	t.name, errs[1] = plan.Text("name")
	t.price, errs[2] = plan.Text("price")
	t.data, errs[3] = plan.Text("data")
	t.op, errs[4] = plan.Fact(tidemill.Op)
	plan.Documents()
	for _, name := range []string{"_id", "_index", "_routing"} {
		plan.Make(name, tidemill.Utf8)
	}
	plan.Many()
	plan.NamedByKey()
	return t, errors.Join(errs[:]...)
}

func (t *documents) Process(batch *tidemill.Batch) (tidemill.Transformed, error) {
	id, name, price, data, op := t.id.In(batch), t.name.In(batch), t.price.In(batch), t.data.In(batch), t.op.In(batch)
	bodies := tidemill.NewTexts(batch.Rows())
	ids, indices, routings := tidemill.NewTexts(batch.Rows()), tidemill.NewTexts(batch.Rows()), tidemill.NewTexts(batch.Rows())
	return tidemill.MapRows(batch, func(row int) (int, error) {
		key, _ := id.Get(row)
		body := document{ID: key}
		amount, priced := price.Get(row)
		switch {
		case amount == "NaN" && priced:
			return 0, tidemill.Reject("price", "`price` is not a number")
		case strings.HasSuffix(amount, "y"):
			body.Price = amount
		case priced:
			body.Price = json.Number(amount)
		}
		text, named := name.Get(row)
		if named {
			body.Name = &text
		}
		body.Words = strings.Split(text, " ")
		var members map[string]json.RawMessage
		value, there := data.Get(row)
		if there {
			body.Data = json.RawMessage(value)
			if json.Unmarshal(body.Data, &members) == nil && members != nil {
				count := len(members)
				body.Members = &count
			}
		}
		count, index := 1, "things-odd"
		if key%5 == 0 {
			count = 2
		}
		if key%2 == 0 {
			index = "things-even"
		}
		what, _ := op.Get(row)
		for body.N = range count {
			// Of a row that is removed only the names are looked at.
			if what == "remove" {
				bodies.Append("{}")
			} else if err := bodies.AppendJSON(&body); err != nil {
				return 0, err
			}
			ids.Append(fmt.Sprintf("things %d-%d", key, body.N))
			indices.Append(index)
			routings.Append(fmt.Sprintf("r%d", key%7))
		}
		return count, nil
	}, bodies, ids, indices, routings)
}
