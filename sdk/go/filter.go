package tidemill

import (
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_filtering"
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
	"github.com/tidemill/tidemill/sdk/go/internal/export_tidemill_plugin_filtering"
	wit "github.com/tidemill/tidemill/sdk/go/internal/wit/types"
)

// Filter says which rows become documents.
type Filter interface {
	// Process answers for one batch. An error is of the whole batch: made by Retry it comes again later, any other is fatal.
	Process(batch *Batch) (Verdict, error)
}

// OpenFilter makes a filter for one table: it reads the configuration and asks the plan for columns. An error is shown to whoever
// wrote the configuration, so it names what is wrong and the way out.
type OpenFilter func(config Config, plan *FilterPlan) (Filter, error)

// Verdict is what a filter answers: which rows stay, and which cannot become documents.
type Verdict struct {
	keep    bits
	Rejects Rejects
}

// Keep is the verdict that keeps the rows whose bit is set, least significant first.
func Keep(bitmap []byte) Verdict { return Verdict{keep: bitmap} }

// KeepRows asks for each row whether it stays. A row's error makes it a reject, unless it was made by Retry or Fatal.
func KeepRows(batch *Batch, keep func(row int) (bool, error)) (Verdict, error) {
	verdict := Verdict{keep: make(bits, (batch.rows+7)/8)}
	for row := range batch.rows {
		stays, err := keep(row)
		if err != nil {
			if err := verdict.Rejects.Take(row, err); err != nil {
				return Verdict{}, err
			}
		} else if stays {
			verdict.keep[row>>3] |= 1 << (row & 7)
		}
	}
	return verdict, nil
}

// ServeFilter is for the package filter.
func ServeFilter(open OpenFilter) {
	var filter Filter
	export_tidemill_plugin_filtering.Open = func(config string, schema tidemill_plugin_types.Schema) wit.Result[tidemill_plugin_filtering.Plan, string] {
		defer enter()()
		plan := FilterPlan{newPlan(liftSchema(schema))}
		opened, err := open(Config(config), &plan)
		if err != nil {
			return wit.Err[tidemill_plugin_filtering.Plan](err.Error())
		}
		filter = opened
		return wit.Ok[tidemill_plugin_filtering.Plan, string](tidemill_plugin_filtering.Plan{Requires: plan.plan.plan.sources})
	}
	export_tidemill_plugin_filtering.Process = func(batch tidemill_plugin_types.Batch) wit.Result[tidemill_plugin_filtering.Verdict, tidemill_plugin_types.Failure] {
		defer enter()()
		verdict, err := filter.Process(liftBatch(batch))
		if err != nil {
			return wit.Err[tidemill_plugin_filtering.Verdict](lowerFailure(err))
		}
		lowered := tidemill_plugin_filtering.Verdict{
			Keep:    tidemill_plugin_filtering.MakeKeepBitmap(verdict.keep),
			Rejects: verdict.Rejects.lower(),
		}
		return wit.Ok[tidemill_plugin_filtering.Verdict, tidemill_plugin_types.Failure](lowered)
	}
}
