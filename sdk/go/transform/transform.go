// Package transform makes a program a component of the world `transform`.
package transform

import tidemill "github.com/tidemill/tidemill/sdk/go"

// Serve makes this program that transform. Call it once, in an init of the main package.
func Serve(open tidemill.OpenTransform) { tidemill.ServeTransform(open) }
