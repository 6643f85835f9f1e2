module {{name}}

go 1.24

require github.com/tidemill/tidemill/sdk/go v0.1.0

replace github.com/tidemill/tidemill/sdk/go => ./tidemill-sdk/sdk/go
