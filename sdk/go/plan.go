package tidemill

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_transforming"
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
)

// Columns hands out columns of the rows that come, by name and type. A column that is not there or has another type is an
// error that names it and the way out: give it back from open.
type Columns struct {
	plan   *required
	fields []Field
	source func(uint32) tidemill_plugin_types.Source
	what   string
}

// required is what crosses with each batch, each column once.
type required struct {
	sources []tidemill_plugin_types.Source
	// Where the buffers of each begin in a batch, and where the next will.
	places []int
	next   int
}

// add gives the place of a column that has so many buffers: one, and those of its elements.
func (r *required) add(source tidemill_plugin_types.Source, buffers int) int {
	if at := slices.Index(r.sources, source); at >= 0 {
		return r.places[at]
	}
	r.sources, r.places = append(r.sources, source), append(r.places, r.next)
	r.next += buffers
	return r.next - buffers
}

// place finds a field by name; the fields of a list's elements stand behind it and have no place of their own.
func (c Columns) place(name string) (int, error) {
	names := []string{}
	for at := 0; at < len(c.fields); at++ {
		if c.fields[at].Name == name {
			return at, nil
		}
		names = append(names, "`"+c.fields[at].Name+"`")
		for c.fields[at].DataType == List && at+1 < len(c.fields) {
			at++
		}
	}
	return 0, fmt.Errorf("%s has no column `%s`; it has %s", c.what, name, strings.Join(names, ", "))
}

// require asks for a column by what its type may be, and behind it those of its elements.
func (c Columns) require(name string, types ...[]DataType) (int, error) {
	at, err := c.place(name)
	if err != nil {
		return 0, err
	}
	is := []DataType{c.fields[at].DataType}
	for is[len(is)-1] == List && at+len(is) < len(c.fields) {
		is = append(is, c.fields[at+len(is)].DataType)
	}
	if !slices.EqualFunc(is, types, func(is DataType, fit []DataType) bool { return slices.Contains(fit, is) }) {
		read := make([]DataType, len(types))
		for i, fit := range types {
			read[i] = fit[0]
		}
		return 0, fmt.Errorf("column `%s` is %s, and the plugin reads it as %s", name, said(is), said(read))
	}
	return c.plan.add(c.source(uint32(at)), len(is)), nil
}

// said is a type with those of its elements.
func said(types []DataType) string {
	words := make([]string, len(types))
	for i, of := range types {
		words[i] = of.String()
	}
	return strings.Join(words, " of ")
}

// What is read as a number of each kind; the first one names it.
var (
	int16Types   = []DataType{Int16}
	int32Types   = []DataType{Int32, Date32}
	int64Types   = []DataType{Int64, Timestamp, TimestampUTC, Time64}
	uint32Types  = []DataType{Uint32}
	float32Types = []DataType{Float32}
	float64Types = []DataType{Float64}
)

// Bool requires a column of booleans.
func (c Columns) Bool(name string) (BoolColumn, error) {
	at, err := c.require(name, []DataType{Boolean})
	return BoolColumn{at}, err
}

// Int16 requires a column of 16-bit integers.
func (c Columns) Int16(name string) (NumberColumn[int16], error) {
	at, err := c.require(name, int16Types)
	return NumberColumn[int16]{at}, err
}

// Int32 requires a column of 32-bit integers, or of dates.
func (c Columns) Int32(name string) (NumberColumn[int32], error) {
	at, err := c.require(name, int32Types)
	return NumberColumn[int32]{at}, err
}

// Int64 requires a column of 64-bit integers, or of timestamps or times of day in microseconds.
func (c Columns) Int64(name string) (NumberColumn[int64], error) {
	at, err := c.require(name, int64Types)
	return NumberColumn[int64]{at}, err
}

// Uint32 requires a column of unsigned integers (oid).
func (c Columns) Uint32(name string) (NumberColumn[uint32], error) {
	at, err := c.require(name, uint32Types)
	return NumberColumn[uint32]{at}, err
}

// Float32 requires a column of single precision.
func (c Columns) Float32(name string) (NumberColumn[float32], error) {
	at, err := c.require(name, float32Types)
	return NumberColumn[float32]{at}, err
}

// Float64 requires a column of double precision.
func (c Columns) Float64(name string) (NumberColumn[float64], error) {
	at, err := c.require(name, float64Types)
	return NumberColumn[float64]{at}, err
}

// Text requires a column of texts; JSON, and numerics with all their digits, are texts.
func (c Columns) Text(name string) (TextColumn, error) {
	at, err := c.require(name, []DataType{Utf8})
	return TextColumn{at}, err
}

// Bytes requires a column of bytes.
func (c Columns) Bytes(name string) (BytesColumn, error) {
	at, err := c.require(name, []DataType{Binary})
	return BytesColumn{at}, err
}

type plan struct {
	// The row's own columns.
	Columns
	schema Schema
}

func newPlan(schema Schema) plan {
	what := fmt.Sprintf("table `%s.%s`", schema.Namespace, schema.Table)
	return plan{Columns{&required{}, schema.Fields, tidemill_plugin_types.MakeSourceField, what}, schema}
}

// Schema says what the rows look like when they reach this stage.
func (p *plan) Schema() Schema { return p.schema }

// Old hands out columns of the row as it was before its change.
func (p *plan) Old() Columns {
	return Columns{p.plan, p.schema.Old, tidemill_plugin_types.MakeSourceOld, "the row before its change"}
}

// Fact requires what is known of a row's change: Op, LSN, Namespace or Table.
func (p *plan) Fact(fact Fact) (TextColumn, error) {
	if fact == Time {
		return TextColumn{}, fmt.Errorf("the commit's time is no text: ask for CommitTime")
	}
	return TextColumn{p.plan.add(tidemill_plugin_types.MakeSourceFact(uint8(fact)), 1)}, nil
}

// CommitTime requires when a row's change was committed, in microseconds since 1970 UTC; null for rows that were there before.
func (p *plan) CommitTime() NumberColumn[int64] {
	return NumberColumn[int64]{p.plan.add(tidemill_plugin_types.MakeSourceFact(uint8(Time)), 1)}
}

// FilterPlan is what a filter says when it is opened: the columns that it requires.
type FilterPlan struct{ plan }

// TransformPlan is what a transform says when it is opened: the columns that it requires, and those that come out.
type TransformPlan struct {
	plan
	outputs   []tidemill_plugin_transforming.Output
	documents bool
	many      bool
	naming    uint8
}

func (p *TransformPlan) pass(source tidemill_plugin_types.Source, as string) {
	passed := tidemill_plugin_transforming.Passed{Column: source, Name: as}
	p.outputs = append(p.outputs, tidemill_plugin_transforming.MakeOutputPass(passed))
}

// Pass lets a column out as it is; it does not cross into the plugin for that.
func (p *TransformPlan) Pass(name string) error { return p.PassAs(name, name) }

// PassAs lets a column out under another name.
func (p *TransformPlan) PassAs(name, as string) error {
	at, err := p.place(name)
	if err == nil {
		p.pass(tidemill_plugin_types.MakeSourceField(uint32(at)), as)
	}
	return err
}

// PassAllBut lets all columns out but these.
func (p *TransformPlan) PassAllBut(names ...string) {
	fields := p.schema.Fields
	for at := 0; at < len(fields); at++ {
		if !slices.Contains(names, fields[at].Name) {
			p.pass(tidemill_plugin_types.MakeSourceField(uint32(at)), fields[at].Name)
		}
		for fields[at].DataType == List && at+1 < len(fields) {
			at++
		}
	}
}

// PassFact lets out what is known of the change.
func (p *TransformPlan) PassFact(fact Fact, as string) {
	p.pass(tidemill_plugin_types.MakeSourceFact(uint8(fact)), as)
}

// PassOld lets out a column of the row as it was before its change.
func (p *TransformPlan) PassOld(name, as string) error {
	at, err := p.Old().place(name)
	if err == nil {
		p.pass(tidemill_plugin_types.MakeSourceOld(uint32(at)), as)
	}
	return err
}

func (p *TransformPlan) make(fields ...Field) {
	made := make([]tidemill_plugin_types.Field, len(fields))
	for i, f := range fields {
		made[i] = lowerField(f)
	}
	p.outputs = append(p.outputs, tidemill_plugin_transforming.MakeOutputMake(made))
}

// Make lets out a column that each answer brings. The columns that an answer brings come in the order in which they were made
// here: of Boolean by NewBools, of Utf8 and Binary by NewTexts, of the others by NewNumbers of their type.
func (p *TransformPlan) Make(name string, dataType DataType) {
	p.make(Field{Name: name, DataType: dataType})
}

// MakeJSON lets out a column of JSON, made by NewTexts.
func (p *TransformPlan) MakeJSON(name string) {
	p.make(Field{Name: name, DataType: Utf8, Extension: JSON})
}

// MakeNumeric lets out a column of exact numbers, written as digits, made by NewTexts.
func (p *TransformPlan) MakeNumeric(name string) {
	p.make(Field{Name: name, DataType: Utf8, Extension: Numeric})
}

// MakeList lets out a column of lists, made by NewLists: depth is 1 for lists of the element, 2 for lists of such lists, 8 at most.
//
//	plan.MakeList("tags", 1, tidemill.Field{DataType: tidemill.Utf8})
func (p *TransformPlan) MakeList(name string, depth int, element Field) {
	fields := make([]Field, depth, depth+1)
	for i := range fields {
		fields[i].DataType = List
	}
	fields = append(fields, element)
	fields[0].Name = name
	p.make(fields...)
}

// Documents says that each answer brings whole documents as JSON objects, a column of NewTexts before all others; the columns
// that are passed or made are then `_id`, `_index` and `_routing`, as far as this stage gives them.
func (p *TransformPlan) Documents() { p.documents = true }

// Many says that one row may become several documents: each then needs an `_id`.
func (p *TransformPlan) Many() { p.many = true }

// NamedByKey says that `_id`, `_index` and `_routing` are made of the table's key alone. Otherwise they may be made of any
// column, which needs a table with REPLICA IDENTITY FULL.
func (p *TransformPlan) NamedByKey() { p.naming = tidemill_plugin_types.Naming_Key }

func newTransformPlan(schema Schema) *TransformPlan {
	return &TransformPlan{plan: newPlan(schema), naming: tidemill_plugin_types.Naming_Row}
}

func (p *TransformPlan) lower() tidemill_plugin_transforming.Plan {
	outputs := tidemill_plugin_transforming.MakeOutputsColumns(p.outputs)
	if p.documents {
		outputs = tidemill_plugin_transforming.MakeOutputsDocuments(p.outputs)
	}
	return tidemill_plugin_transforming.Plan{Requires: p.plan.plan.sources, Outputs: outputs, Many: p.many, Naming: p.naming}
}
