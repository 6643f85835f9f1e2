//go:build !wasip1

package tidemill

import (
	"fmt"
	"os"
)

// Log writes a line for the operator: never row values, please.
func Log(level Level, message string) {
	fmt.Fprintln(os.Stderr, [...]string{"debug", "info", "warn", "error"}[level], message)
}

// Count adds to a counter. Names are `[a-z][a-z0-9_]*` of at most 64 bytes, at most 64 of them a stage.
func Count(name string, add uint64) {}

// Set sets a gauge.
func Set(name string, value float64) {}
