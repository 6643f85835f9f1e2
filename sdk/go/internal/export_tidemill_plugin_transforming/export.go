// Package export_tidemill_plugin_transforming is what the generated exports call: the plugin that was registered. Its name is the
// generator's.
package export_tidemill_plugin_transforming

import (
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_transforming"
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
	wit "github.com/tidemill/tidemill/sdk/go/internal/wit/types"
)

var (
	Open    func(config string, schema tidemill_plugin_types.Schema) wit.Result[tidemill_plugin_transforming.Plan, string]
	Process func(batch tidemill_plugin_types.Batch) wit.Result[tidemill_plugin_transforming.Transformed, tidemill_plugin_types.Failure]
)
