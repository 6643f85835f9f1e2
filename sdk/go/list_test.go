package tidemill

import (
	"fmt"
	"strings"
	"testing"
)

func listed() Schema {
	fields := []Field{
		{Name: "id", DataType: Int64},
		{Name: "tags", DataType: List}, {DataType: Utf8},
		{Name: "grid", DataType: List}, {DataType: List}, {DataType: Date32},
		{Name: "name", DataType: Utf8},
	}
	return Schema{Namespace: "public", Table: "things", Key: []string{"id"}, Fields: fields, Old: fields[1:3]}
}

// read writes down lists of lists: `[[1 null] null]`.
func read(lists Lists[Lists[Numbers[int32]]], row int) string {
	from, to, ok := lists.Get(row)
	if !ok {
		return "null"
	}
	out := []string{}
	for at := from; at < to; at++ {
		from, to, ok := lists.Elements.Get(at)
		if !ok {
			out = append(out, "null")
			continue
		}
		inner := []string{}
		for at := from; at < to; at++ {
			if number, ok := lists.Elements.Elements.Get(at); ok {
				inner = append(inner, fmt.Sprint(number))
			} else {
				inner = append(inner, "null")
			}
		}
		out = append(out, fmt.Sprint(inner))
	}
	return fmt.Sprint(out)
}

// grid appends that row: of as many lists as its number, of which the third is null.
func grid(row int, numbers *MadeNumbers[int32], inner, outer *MadeLists) string {
	parts := []string{}
	for list := range row {
		for n := range list {
			if n == 1 {
				numbers.AppendNull()
			} else {
				numbers.Append(int32(row*100 + n))
			}
		}
		if list == 2 {
			inner.AppendNull()
			parts = append(parts, "null")
			continue
		}
		inner.Append()
		part := []string{}
		for n := range list {
			part = append(part, map[bool]string{true: "null", false: fmt.Sprint(row*100 + n)}[n == 1])
		}
		parts = append(parts, fmt.Sprint(part))
	}
	if row == 4 {
		outer.AppendNull()
		return "null"
	}
	outer.Append()
	return fmt.Sprint(parts)
}

func TestListsAreReadThroughThePlanAsTheyWereMade(t *testing.T) {
	plan := newTransformPlan(listed())
	id, _ := plan.Int64("id")
	of, err := ListOf(plan, "grid", OfLists(OfInt32))
	if err != nil {
		t.Fatal(err)
	}
	// Behind the parts of a list.
	name, _ := plan.Text("name")
	before, err := ListOf(plan.Old(), "tags", OfTexts)
	if again, _ := ListOf(plan, "grid", OfLists(OfInt32)); err != nil || again.place != of.place || len(plan.plan.plan.sources) != 4 {
		t.Fatal("a list crosses once", err)
	}

	ids, names, tags, numbers := NewNumbers[int64](0), NewTexts(0), NewTexts(0), NewNumbers[int32](0)
	inner := NewLists(numbers)
	outer, olds := NewLists(inner), NewLists(tags)
	expected := []string{}
	for row := range 7 {
		ids.Append(int64(row))
		names.Append(strings.Repeat("ü", row))
		tags.Append(fmt.Sprint(row))
		olds.Append()
		expected = append(expected, grid(row, numbers, inner, outer))
	}
	batch := batchOf(7, ids, outer, names, olds)
	for row := range 7 {
		if got := read(of.In(batch), row); got != expected[row] {
			t.Errorf("row %d is %s, and was made as %s", row, got, expected[row])
		}
		key, _ := id.In(batch).Get(row)
		text, _ := name.In(batch).Get(row)
		old := before.In(batch)
		from, to, ok := old.Get(row)
		tag, _ := old.Elements.Get(from)
		if key != int64(row) || text != strings.Repeat("ü", row) || !ok || to != from+1 || tag != fmt.Sprint(row) {
			t.Errorf("row %d beside the lists is %d, %q, %q", row, key, text, tag)
		}
	}
	if lists := of.In(batchOf(0, NewNumbers[int64](0), NewLists(NewLists(NewNumbers[int32](0))))); len(lists.Elements.Elements.Values()) != 0 {
		t.Error("no lists have elements")
	}
}

func TestListsAreTakenBack(t *testing.T) {
	numbers := NewNumbers[int32](0)
	inner := NewLists(numbers)
	outer := NewLists(inner)
	_, err := MapRows(&Batch{rows: 6}, func(row int) (int, error) {
		if row == 3 {
			numbers.Append(1)
			inner.Append()
			numbers.Append(2)
			return 0, Reject("half", "made in half")
		}
		grid(row, numbers, inner, outer)
		return (row + 1) % 2, nil
	}, outer)
	if err != nil {
		t.Fatal(err)
	}
	// Rows 0, 2 and 4, of which the last is null: `[]` and `[] [200]`.
	if outer.len() != 3 || inner.len() != 2 || numbers.len() != 1 {
		t.Fatalf("%d lists of %d lists of %d numbers are left", outer.len(), inner.len(), numbers.len())
	}
}

func TestAPlanSaysWhatListsAre(t *testing.T) {
	plan := newTransformPlan(listed())
	for _, c := range []struct {
		err  error
		says string
	}{
		{second(ListOf(plan, "tags", OfInt64)), "`tags` is list of utf8, and the plugin reads it as list of int64"},
		{second(ListOf(plan, "name", OfTexts)), "`name` is utf8, and the plugin reads it as list of utf8"},
		{second(ListOf(plan, "grid", OfInt32)), "`grid` is list of list of date32, and the plugin reads it as list of int32"},
		{second(plan.Text("tags")), "`tags` is list of utf8, and the plugin reads it as utf8"},
		{second(ListOf(plan.Old(), "grid", OfTexts)), "no column `grid`"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.says) {
			t.Errorf("`%v` does not say `%s`", c.err, c.says)
		}
	}
	plan.MakeList("sums", 2, Field{DataType: Utf8, Extension: Numeric})
	made := plan.outputs[0].Make()
	if len(made) != 3 || made[0].Name != "sums" || made[1].DataType != uint8(List) || made[2].Extension.SomeOr("") != Numeric {
		t.Errorf("made %v", made)
	}
}

func TestJSONIsWrittenWithoutANewline(t *testing.T) {
	texts := NewTexts(0)
	if err := texts.AppendJSON(map[string]any{"a": "<é>\n"}); err != nil {
		t.Fatal(err)
	}
	if err := texts.AppendJSON(func() {}); err == nil {
		t.Fatal("a function is no JSON")
	}
	texts.AppendNull()
	if got := string(texts.values); got != `{"a":"<é>\n"}` || texts.len() != 2 {
		t.Fatalf("%d texts: %s", texts.len(), got)
	}
}
