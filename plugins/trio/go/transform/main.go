// The transform of the trio: the same as in rust/ and python/, byte for byte. Its configuration says which of four it is.
package main

import (
	"fmt"

	tidemill "github.com/tidemill/tidemill/sdk/go"
	"github.com/tidemill/tidemill/sdk/go/transform"
)

func init() { transform.Serve(open) }

func main() {}

type settings struct {
	Kind   string `json:"kind"`
	Labels labels `json:"labels"`
}

type labels struct {
	Prefix string `json:"prefix"`
	Twice  bool   `json:"twice"`
}

func open(config tidemill.Config, plan *tidemill.TransformPlan) (tidemill.Transform, error) {
	var settings settings
	if err := config.Into(&settings); err != nil {
		return nil, err
	}
	switch settings.Kind {
	case "labels":
		return openLabels(settings.Labels, plan)
	case "lists":
		return openLists(plan)
	case "turned":
		return openTurned(plan)
	case "documents":
		return openDocuments(plan)
	}
	return nil, fmt.Errorf("there is no kind `%s`", settings.Kind)
}
