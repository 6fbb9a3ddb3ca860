package asyncapi

import _ "embed"

// Demo is the document of "sluice demo", in YAML.
//
//go:embed demo.yaml
var Demo []byte
