//go:build wasip1

package transform

import _ "github.com/tidemill/tidemill/sdk/go/internal/bindings/world_transform"
