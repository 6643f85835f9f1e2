package tidemill

import (
	"fmt"

	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_transforming"
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
	"github.com/tidemill/tidemill/sdk/go/internal/export_tidemill_plugin_transforming"
	wit "github.com/tidemill/tidemill/sdk/go/internal/wit/types"
)

// Transform says which rows become documents, and what these consist of.
type Transform interface {
	// Process answers for one batch. An error is of the whole batch: made by Retry it comes again later, any other is fatal.
	Process(batch *Batch) (Transformed, error)
}

// OpenTransform makes a transform for one table, as OpenFilter does a filter; its plan also says which columns come out.
type OpenTransform func(config Config, plan *TransformPlan) (Transform, error)

// Transformed is what a transform answers.
type Transformed struct {
	rows    tidemill_plugin_transforming.Rows
	columns []Made
	Rejects Rejects
}

// AllRows is the answer by which each row becomes one document, with these made columns in the plan's order.
func AllRows(columns ...Made) Transformed {
	return Transformed{rows: tidemill_plugin_transforming.MakeRowsAll(), columns: columns}
}

// MapRows asks of each row how many documents it becomes (0 drops it; more than 1 only where the plan said Many), and what was
// appended to the made columns for them, which are given in the plan's order. A row's error makes it a reject, unless it was made
// by Retry or Fatal; what was appended for it is taken back.
func MapRows(batch *Batch, row func(row int) (documents int, err error), columns ...Made) (Transformed, error) {
	indices := make([]uint32, 0, batch.rows)
	out := Transformed{columns: columns}
	for at := range batch.rows {
		documents, err := row(at)
		if err != nil {
			if err := out.Rejects.Take(at, err); err != nil {
				return Transformed{}, err
			}
			documents = 0
		}
		before := len(indices)
		for range documents {
			indices = append(indices, uint32(at))
		}
		for place, column := range columns {
			if err != nil || documents == 0 {
				column.cut(before)
			} else if column.len() != len(indices) {
				panic(fmt.Sprintf("row %d became %d documents, but made column %d got %d values for them", at, documents, place, column.len()-before))
			}
		}
	}
	out.rows = tidemill_plugin_transforming.MakeRowsIndices(indices)
	return out, nil
}

func (t Transformed) lower() tidemill_plugin_transforming.Transformed {
	columns := make([]tidemill_plugin_types.Buffers, 0, len(t.columns))
	for _, column := range t.columns {
		columns = column.lower(columns)
	}
	return tidemill_plugin_transforming.Transformed{Rows: t.rows, Columns: columns, Rejects: t.Rejects.lower()}
}

// ServeTransform is for the package transform.
func ServeTransform(open OpenTransform) {
	var transform Transform
	export_tidemill_plugin_transforming.Open = func(config string, schema tidemill_plugin_types.Schema) wit.Result[tidemill_plugin_transforming.Plan, string] {
		defer enter()()
		plan := newTransformPlan(liftSchema(schema))
		opened, err := open(Config(config), plan)
		if err != nil {
			return wit.Err[tidemill_plugin_transforming.Plan](err.Error())
		}
		transform = opened
		return wit.Ok[tidemill_plugin_transforming.Plan, string](plan.lower())
	}
	export_tidemill_plugin_transforming.Process = func(batch tidemill_plugin_types.Batch) wit.Result[tidemill_plugin_transforming.Transformed, tidemill_plugin_types.Failure] {
		defer enter()()
		transformed, err := transform.Process(liftBatch(batch))
		if err != nil {
			return wit.Err[tidemill_plugin_transforming.Transformed](lowerFailure(err))
		}
		return wit.Ok[tidemill_plugin_transforming.Transformed, tidemill_plugin_types.Failure](transformed.lower())
	}
}
