//go:build wasip1

package filter

import _ "github.com/tidemill/tidemill/sdk/go/internal/bindings/world_filter"
