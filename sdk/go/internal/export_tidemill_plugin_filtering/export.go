// Package export_tidemill_plugin_filtering is what the generated exports call: the plugin that was registered. Its name is the
// generator's.
package export_tidemill_plugin_filtering

import (
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_filtering"
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
	wit "github.com/tidemill/tidemill/sdk/go/internal/wit/types"
)

var (
	Open    func(config string, schema tidemill_plugin_types.Schema) wit.Result[tidemill_plugin_filtering.Plan, string]
	Process func(batch tidemill_plugin_types.Batch) wit.Result[tidemill_plugin_filtering.Verdict, tidemill_plugin_types.Failure]
)
