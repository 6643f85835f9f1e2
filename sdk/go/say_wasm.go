//go:build wasip1

package tidemill

import (
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_log"
	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_metrics"
)

// Log writes a line for the operator: never row values, please.
func Log(level Level, message string) { tidemill_plugin_log.Write(uint8(level), message) }

// Count adds to a counter. Names are `[a-z][a-z0-9_]*` of at most 64 bytes, at most 64 of them a stage.
func Count(name string, add uint64) { tidemill_plugin_metrics.Count(name, add) }

// Set sets a gauge.
func Set(name string, value float64) { tidemill_plugin_metrics.Set(name, value) }
