// Package filter makes a program a component of the world `filter`.
package filter

import tidemill "github.com/tidemill/tidemill/sdk/go"

// Serve makes this program that filter. Call it once, in an init of the main package.
func Serve(open tidemill.OpenFilter) { tidemill.ServeFilter(open) }
