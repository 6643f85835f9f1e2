package tidemill

// Level is how much a log line matters.
type Level uint8

const (
	Debug Level = iota
	Info
	Warn
	Error
)
