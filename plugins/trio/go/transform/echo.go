package main

import (
	"errors"

	tidemill "github.com/tidemill/tidemill/sdk/go"
)

// A column of each type goes back as it came, so that every type is read and made.
var echoed = []string{"small", "count", "ref", "ratio", "score", "born", "seen", "at", "hour", "raw", "data", "price"}

// echo begins a batch's column, and gives what appends a row to it.
type echo func(batch *tidemill.Batch) (tidemill.Made, func(row int))

func numbers[T tidemill.Number](column tidemill.NumberColumn[T], err error) (echo, error) {
	return func(batch *tidemill.Batch) (tidemill.Made, func(row int)) {
		values, made := column.In(batch), tidemill.NewNumbers[T](batch.Rows())
		return made, func(row int) {
			if value, ok := values.Get(row); ok {
				made.Append(value)
			} else {
				made.AppendNull()
			}
		}
	}, err
}

func texts(column tidemill.TextColumn, err error) (echo, error) {
	return func(batch *tidemill.Batch) (tidemill.Made, func(row int)) {
		values, made := column.In(batch), tidemill.NewTexts(batch.Rows())
		return made, func(row int) {
			if value, ok := values.Get(row); ok {
				made.Append(value)
			} else {
				made.AppendNull()
			}
		}
	}, err
}

func raw(column tidemill.BytesColumn, err error) (echo, error) {
	return func(batch *tidemill.Batch) (tidemill.Made, func(row int)) {
		values, made := column.In(batch), tidemill.NewTexts(batch.Rows())
		return made, func(row int) {
			if value, ok := values.Get(row); ok {
				made.AppendBytes(value)
			} else {
				made.AppendNull()
			}
		}
	}, err
}

func echoes(plan *tidemill.TransformPlan) ([]echo, error) {
	var all [12]echo
	var errs [12]error
	all[0], errs[0] = numbers(plan.Int16("small"))
	all[1], errs[1] = numbers(plan.Int32("count"))
	all[2], errs[2] = numbers(plan.Uint32("ref"))
	all[3], errs[3] = numbers(plan.Float32("ratio"))
	all[4], errs[4] = numbers(plan.Float64("score"))
	all[5], errs[5] = numbers(plan.Int32("born"))
	all[6], errs[6] = numbers(plan.Int64("seen"))
	all[7], errs[7] = numbers(plan.Int64("at"))
	all[8], errs[8] = numbers(plan.Int64("hour"))
	all[9], errs[9] = raw(plan.Bytes("raw"))
	all[10], errs[10] = texts(plan.Text("data"))
	all[11], errs[11] = texts(plan.Text("price"))
	for i, of := range []tidemill.DataType{tidemill.Int16, tidemill.Int32, tidemill.Uint32, tidemill.Float32, tidemill.Float64,
		tidemill.Date32, tidemill.Timestamp, tidemill.TimestampUTC, tidemill.Time64, tidemill.Binary} {
		plan.Make(echoed[i], of)
	}
	plan.MakeJSON("data")
	plan.MakeNumeric("price")
	return all[:], errors.Join(errs[:]...)
}
