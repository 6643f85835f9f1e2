module {{name}}

go 1.24

require github.com/tidemill/tidemill/sdk/go v0.1.0

// The SDK as it was when this plugin was made: see tidemill-sdk/README.md.
replace github.com/tidemill/tidemill/sdk/go => ./tidemill-sdk/sdk/go
