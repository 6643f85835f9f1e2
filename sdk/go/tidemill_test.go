package tidemill

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
	wit "github.com/tidemill/tidemill/sdk/go/internal/wit/types"
)

func table() Schema {
	fields := []Field{
		{Name: "id", DataType: Int64}, {Name: "tags", DataType: List}, {Name: "element", DataType: Utf8},
		{Name: "name", DataType: Utf8}, {Name: "active", DataType: Boolean},
	}
	return Schema{Namespace: "public", Table: "things", Key: []string{"id"}, Fields: fields, Old: fields[:1]}
}

// batchOf is a batch as the host would send what was made.
func batchOf(rows int, columns ...Made) *Batch {
	batch := tidemill_plugin_types.Batch{Rows: uint32(rows)}
	for _, column := range columns {
		batch.Columns = column.lower(batch.Columns)
	}
	return liftBatch(batch)
}

func TestWhatIsMadeIsReadAsItWas(t *testing.T) {
	ids, names, active := NewNumbers[int64](0), NewTexts(0), NewBools()
	for row := range 20 {
		if row%3 == 0 {
			ids.AppendNull()
			names.AppendNull()
			active.AppendNull()
			continue
		}
		ids.Append(int64(row) << 40)
		names.Append(strings.Repeat("ü👟", row))
		active.Append(row%2 == 0)
	}
	batch := batchOf(20, ids, names, active)
	gotIDs, gotNames, gotActive := NumberColumn[int64]{0}.In(batch), TextColumn{1}.In(batch), BoolColumn{2}.In(batch)
	for row := range 20 {
		id, hasID := gotIDs.Get(row)
		name, hasName := gotNames.Get(row)
		is, hasActive := gotActive.Get(row)
		if valid := row%3 != 0; hasID != valid || hasName != valid || hasActive != valid {
			t.Fatalf("row %d: nulls are wrong", row)
		} else if valid && (id != int64(row)<<40 || name != strings.Repeat("ü👟", row) || is != (row%2 == 0)) {
			t.Fatalf("row %d is %d, %q, %v", row, id, name, is)
		}
	}
}

func TestColumnsWithoutNullsHaveNoBitmap(t *testing.T) {
	ids := NewNumbers[int32](2)
	ids.Append(1)
	if made := ids.lower(nil)[0]; made.Validity.Tag() != wit.OptionNone || len(made.Values) != 4 {
		t.Fatalf("made %v", made)
	}
	if empty := batchOf(0, NewNumbers[int64](0), NewTexts(0)); len(NumberColumn[int64]{0}.In(empty).Values()) != 0 {
		t.Fatal("an empty column has values")
	}
}

func TestNumbersAreReadWhereverTheyLie(t *testing.T) {
	room := make([]byte, 24)
	for shift := range 8 {
		lies := room[shift : shift+16]
		clear(lies)
		lies[0], lies[8] = 7, 9
		if got := numbersOf[int64](lies); got[0] != 7 || got[1] != 9 {
			t.Fatalf("at %d: %v (from %v)", shift, got, unsafe.SliceData(lies))
		}
	}
}

func TestRowsAreTakenBack(t *testing.T) {
	texts, numbers, bools := NewTexts(0), NewNumbers[int64](0), NewBools()
	answer, err := MapRows(&Batch{rows: 10}, func(row int) (int, error) {
		texts.Append(strings.Repeat("x", row))
		numbers.Append(int64(row))
		bools.AppendNull()
		if row%3 == 1 {
			return 0, Reject("third", "row %d", row)
		}
		return (row + 1) % 2, nil
	}, texts, numbers, bools)
	if err != nil {
		t.Fatal(err)
	}
	if got := numbers.values; len(got) != 4 || got[0] != 0 || got[1] != 2 || got[2] != 6 || got[3] != 8 {
		t.Fatalf("the rows %v came out", got)
	}
	if len(answer.Rejects) != 3 || answer.Rejects[1] != (RowReject{4, "third", "row 4"}) {
		t.Fatalf("rejects: %v", answer.Rejects)
	}
	if texts.len() != 4 || len(texts.values) != 16 || bools.len() != 4 {
		t.Fatalf("%d texts of %d bytes, %d booleans", texts.len(), len(texts.values), bools.len())
	}
}

func TestAnErrorIsARowsUnlessItSaysOtherwise(t *testing.T) {
	keep := func(of error) (Verdict, error) {
		return KeepRows(&Batch{rows: 9}, func(row int) (bool, error) {
			if row == 8 {
				return false, of
			}
			return row == 1, nil
		})
	}
	verdict, err := keep(errors.New("odd"))
	if err != nil || len(verdict.Rejects) != 1 || verdict.Rejects[0] != (RowReject{8, "failed", "odd"}) {
		t.Fatalf("%v, %v", verdict, err)
	}
	if verdict.keep[0] != 2 || verdict.keep[1] != 0 {
		t.Fatalf("kept %v", verdict.keep)
	}
	for _, of := range []error{Retry("later"), Fatal("never")} {
		if _, err := keep(of); !errors.Is(err, of) {
			t.Fatalf("%v became %v", of, err)
		}
	}
	if failure := lowerFailure(Retry("later")); failure.Tag() != tidemill_plugin_types.Failure_Retry {
		t.Fatal("a retry is fatal")
	}
	if failure := lowerFailure(errors.New("odd")); failure.Tag() != tidemill_plugin_types.Failure_Fatal {
		t.Fatal("an unknown failure is tried again")
	}
}

func TestAPlanRefusesWhatIsNotThere(t *testing.T) {
	plan := newTransformPlan(table())
	for _, c := range []struct {
		err  error
		says []string
	}{
		{second(plan.Int64("nme")), []string{"`public.things`", "`nme`", "`name`"}},
		{second(plan.Int64("name")), []string{"`name` is utf8", "int64"}},
		// A list's elements are no column.
		{second(plan.Text("element")), []string{"no column `element`"}},
		{second(plan.Old().Text("name")), []string{"before its change", "`name`"}},
		{second(plan.Fact(Time)), []string{"CommitTime"}},
		{plan.Pass("nme"), []string{"`nme`"}},
	} {
		for _, says := range c.says {
			if c.err == nil || !strings.Contains(c.err.Error(), says) {
				t.Errorf("`%v` does not say %s", c.err, says)
			}
		}
	}
	plan.PassAllBut("name")
	if len(plan.outputs) != 3 {
		t.Errorf("%d columns pass, and there are id, tags and active", len(plan.outputs))
	}
}

func TestAColumnCrossesOnce(t *testing.T) {
	plan := newTransformPlan(table())
	first, _ := plan.Int64("id")
	again, _ := plan.Int64("id")
	before, _ := plan.Old().Int64("id")
	if first != again || first == before || len(plan.plan.plan.sources) != 2 {
		t.Fatalf("columns %v, %v and %v of %d", first, again, before, len(plan.plan.plan.sources))
	}
}

func second[T any](_ T, err error) error { return err }

func TestAConfigurationIsReadWhole(t *testing.T) {
	var settings struct{ Below int64 }
	if err := Config(`{"below": 3}`).Into(&settings); err != nil || settings.Below != 3 {
		t.Fatal(err, settings)
	}
	if err := Config(`{"belo": 3}`).Into(&settings); err == nil || !strings.Contains(err.Error(), `"belo"`) {
		t.Fatalf("an unknown key gives %v", err)
	}
}
