package main

import (
	"errors"

	tidemill "github.com/tidemill/tidemill/sdk/go"
)

type (
	list2[V any] = tidemill.Lists[tidemill.Lists[V]]
	list4[V any] = list2[list2[V]]
	// The lists in lists of int8, but for the outermost.
	list7 = list4[list2[tidemill.Lists[tidemill.Numbers[int64]]]]
)

// turned reads the lists that lists makes, and turns them round.
type turned struct {
	words tidemill.ListColumn[tidemill.Texts]
	codes tidemill.ListColumn[tidemill.Lists[tidemill.Numbers[int32]]]
	deep  tidemill.ListColumn[list7]
	// prices, flags, moments, scores, raws, all
	turns []turn
}

// turn begins a batch's column, and gives what appends a row's list to it, turned round.
type turn func(batch *tidemill.Batch) (tidemill.Made, func(row int))

func turning[T any, V interface{ Get(row int) (T, bool) }](
	column tidemill.ListColumn[V], begin func() appended[T]) turn {
	return func(batch *tidemill.Batch) (tidemill.Made, func(row int)) {
		values, elements := column.In(batch), begin()
		made := tidemill.NewLists(elements)
		return made, func(row int) {
			from, to, ok := values.Get(row)
			for at := to - 1; at >= from; at-- {
				value, there := values.Elements.Get(at)
				option(elements, value, there)
			}
			end(made, ok)
		}
	}
}

func newTexts() appended[string] { return tidemill.NewTexts(0) }

func newNumbers[T tidemill.Number]() appended[T] { return tidemill.NewNumbers[T](0) }

// madeBytes is a column of bytes.
type madeBytes struct{ *tidemill.MadeTexts }

func (m madeBytes) Append(value []byte) { m.AppendBytes(value) }

func openTurned(plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	t := &turned{}
	names := []string{}
	for _, column := range made {
		names = append(names, column.name)
	}
	plan.PassAllBut(names...)
	for _, column := range made {
		plan.MakeList(column.name, column.depth, column.element)
		if column.name == "codes" {
			plan.Make("total", tidemill.Int64)
		}
	}
	var errs [9]error
	t.words, errs[0] = tidemill.ListOf(plan, "words", tidemill.OfTexts)
	t.codes, errs[1] = tidemill.ListOf(plan, "codes", tidemill.OfLists(tidemill.OfInt32))
	prices, err := tidemill.ListOf(plan, "prices", tidemill.OfTexts)
	errs[2] = err
	flags, err := tidemill.ListOf(plan, "flags", tidemill.OfBools)
	errs[3] = err
	moments, err := tidemill.ListOf(plan, "moments", tidemill.OfInt64)
	errs[4] = err
	scores, err := tidemill.ListOf(plan, "scores", tidemill.OfFloat64)
	errs[5] = err
	raws, err := tidemill.ListOf(plan, "raws", tidemill.OfBytes)
	errs[6] = err
	all, err := tidemill.ListOf(plan, "all", tidemill.OfTexts)
	errs[7] = err
	four := tidemill.OfLists(tidemill.OfLists(tidemill.OfLists(tidemill.OfInt64)))
	t.deep, errs[8] = tidemill.ListOf(plan, "deep",
		tidemill.OfLists(tidemill.OfLists(tidemill.OfLists(tidemill.OfLists(four)))))
	t.turns = []turn{
		turning(prices, newTexts),
		turning(flags, func() appended[bool] { return tidemill.NewBools() }),
		turning(moments, newNumbers[int64]),
		turning(scores, newNumbers[float64]),
		turning(raws, func() appended[[]byte] { return madeBytes{tidemill.NewTexts(0)} }),
		turning(all, newTexts),
	}
	return t, errors.Join(errs[:]...)
}

// first is a list's elements and the place of its first.
func first[V any](lists tidemill.Lists[V], row int) (elements V, at int) {
	at, _, _ = lists.Get(row)
	return lists.Elements, at
}

func (t *turned) Process(batch *tidemill.Batch) (tidemill.Transformed, error) {
	words, codes, deepest := t.words.In(batch), t.codes.In(batch), t.deep.In(batch)
	beginWords := turning(t.words, newTexts)
	madeWords, turnWords := beginWords(batch)
	code, total := tidemill.NewNumbers[int32](0), tidemill.NewNumbers[int64](batch.Rows())
	wordCodes := tidemill.NewLists(code)
	madeCodes := tidemill.NewLists(wordCodes)
	columns := []tidemill.Made{madeWords, madeCodes, total}
	turn := []func(row int){turnWords}
	for _, begin := range t.turns {
		made, turned := begin(batch)
		columns, turn = append(columns, made), append(turn, turned)
	}
	number := tidemill.NewNumbers[int64](0)
	levels := nested(number)
	columns = append(columns, levels[0])
	return tidemill.MapRows(batch, func(row int) (int, error) {
		for _, turn := range turn {
			turn(row)
		}
		sum := int64(0)
		from, to, ok := codes.Get(row)
		for at := to - 1; at >= from; at-- {
			from, to, ok := codes.Elements.Get(at)
			for at := to - 1; at >= from; at-- {
				c, there := codes.Elements.Elements.Get(at)
				option(code, c, there)
				sum += int64(c)
			}
			end(wordCodes, ok)
		}
		end(madeCodes, ok)
		option(total, sum, ok)
		// Each list has one element, down to the last, which may be null.
		at2, row2 := first(deepest, row)
		at3, row3 := first(at2, row2)
		at4, row4 := first(at3, row3)
		at5, row5 := first(at4, row4)
		at6, row6 := first(at5, row5)
		at7, row7 := first(at6, row6)
		innermost, at := first(at7, row7)
		from, to, ok = innermost.Get(at)
		for at := from; at < to; at++ {
			n, there := innermost.Elements.Get(at)
			option(number, n, there)
		}
		end(levels[deep-1], ok)
		for level := deep - 2; level >= 0; level-- {
			levels[level].Append()
		}
		// Last, so that a reject has something to take back.
		if from, to, _ := words.Get(row); to-from > 3 {
			return 0, tidemill.Reject("words", "`words` has more than 3 elements")
		}
		return 1, nil
	}, columns...)
}
