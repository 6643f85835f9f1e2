package main

import (
	"errors"
	"strings"

	tidemill "github.com/tidemill/tidemill/sdk/go"
)

// As deep as lists may be.
const deep = 8

// What lists makes and turned reads: each name, how deep it is in lists, and of what.
var made = []struct {
	name    string
	depth   int
	element tidemill.Field
}{
	{"words", 1, tidemill.Field{DataType: tidemill.Utf8}},
	{"codes", 2, tidemill.Field{DataType: tidemill.Int32}},
	{"prices", 1, tidemill.Field{DataType: tidemill.Utf8, Extension: tidemill.Numeric}},
	{"flags", 1, tidemill.Field{DataType: tidemill.Boolean}},
	{"moments", 1, tidemill.Field{DataType: tidemill.TimestampUTC}},
	{"scores", 1, tidemill.Field{DataType: tidemill.Float64}},
	{"raws", 1, tidemill.Field{DataType: tidemill.Binary}},
	{"all", 1, tidemill.Field{DataType: tidemill.Utf8, Extension: tidemill.JSON}},
	{"deep", deep, tidemill.Field{DataType: tidemill.Int64}},
}

// lists makes columns of lists of what a row has: nulls, lists without elements and nulls in lists among them.
type lists struct {
	id, at, quantity  tidemill.NumberColumn[int64]
	name, price, data tidemill.TextColumn
	active            tidemill.BoolColumn
	score             tidemill.NumberColumn[float64]
	raw               tidemill.BytesColumn
}

func openLists(plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	t := &lists{}
	var errs [9]error
	t.id, errs[0] = plan.Int64("id")
	t.name, errs[1] = plan.Text("name")
	t.price, errs[2] = plan.Text("price")
	t.active, errs[3] = plan.Bool("active")
	t.at, errs[4] = plan.Int64("at")
	t.score, errs[5] = plan.Float64("score")
	t.quantity, errs[6] = plan.Int64("quantity")
	t.raw, errs[7] = plan.Bytes("raw")
	t.data, errs[8] = plan.Text("data")
	plan.PassAllBut()
	for _, column := range made {
		plan.MakeList(column.name, column.depth, column.element)
	}
	return t, errors.Join(errs[:]...)
}

// appended is a column that takes values or nulls.
type appended[T any] interface {
	tidemill.Made
	Append(value T)
	AppendNull()
}

// option appends what a column's Get gave.
func option[T any](to appended[T], value T, there bool) {
	if there {
		to.Append(value)
	} else {
		to.AppendNull()
	}
}

// end ends a list, or is one that is null.
func end(list *tidemill.MadeLists, there bool) {
	if there {
		list.Append()
	} else {
		list.AppendNull()
	}
}

// nested is lists of lists, as deep as may be, of the elements.
func nested(elements tidemill.Made) (all [deep]*tidemill.MadeLists) {
	for level := deep - 1; level >= 0; level-- {
		all[level] = tidemill.NewLists(elements)
		elements = all[level]
	}
	return all
}

func (t *lists) Process(batch *tidemill.Batch) (tidemill.Transformed, error) {
	id, name, price, active := t.id.In(batch), t.name.In(batch), t.price.In(batch), t.active.In(batch)
	at, score, quantity := t.at.In(batch), t.score.In(batch), t.quantity.In(batch)
	raw, data := t.raw.In(batch), t.data.In(batch)
	word, code := tidemill.NewTexts(0), tidemill.NewNumbers[int32](0)
	words, wordCodes := tidemill.NewLists(word), tidemill.NewLists(code)
	codes := tidemill.NewLists(wordCodes)
	digits, flag, moment := tidemill.NewTexts(0), tidemill.NewBools(), tidemill.NewNumbers[int64](0)
	prices, flags, moments := tidemill.NewLists(digits), tidemill.NewLists(flag), tidemill.NewLists(moment)
	points, half, value := tidemill.NewNumbers[float64](0), tidemill.NewTexts(0), tidemill.NewTexts(0)
	scores, raws, all := tidemill.NewLists(points), tidemill.NewLists(half), tidemill.NewLists(value)
	number := tidemill.NewNumbers[int64](0)
	levels := nested(number)
	for row := range batch.Rows() {
		text, named := name.Get(row)
		if named {
			for part := range strings.SplitSeq(text, " ") {
				option(word, part, part != "")
				for _, c := range part {
					code.Append(c)
				}
				end(wordCodes, part != "")
			}
		}
		end(words, named)
		end(codes, named)
		amount, priced := price.Get(row)
		option(digits, amount, priced)
		digits.AppendNull()
		end(prices, priced)
		is, known := active.Get(row)
		option(flag, is, known)
		when, dated := at.Get(row)
		option(flag, when < 0, dated)
		flags.Append()
		if dated {
			moment.Append(when)
		}
		moments.Append()
		points.AppendNull()
		s, scored := score.Get(row)
		option(points, s, scored)
		scores.Append()
		bytes, there := raw.Get(row)
		half.AppendBytes(bytes[:len(bytes)/2])
		half.AppendBytes(bytes[len(bytes)/2:])
		end(raws, there)
		json, there := data.Get(row)
		value.Append(json)
		end(all, there)
		key, _ := id.Get(row)
		if key%3 != 0 {
			q, counted := quantity.Get(row)
			option(number, q, counted)
		}
		end(levels[deep-1], key%3 != 0)
		for level := deep - 2; level >= 0; level-- {
			levels[level].Append()
		}
	}
	return tidemill.AllRows(words, codes, prices, flags, moments, scores, raws, all, levels[0]), nil
}
