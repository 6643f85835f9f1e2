// Package tidemill is for writing Tidemill plugins in Go.
//
// A plugin is a filter (which rows become documents?) or a transform (and what do these consist of?). It registers itself by
// filter.Serve or transform.Serve, in an init of its main package, and gets whole batches. When it is opened it asks its plan
// for columns, and gets handles by which it reads them:
//
//	func init() { filter.Serve(open) }
//
//	func open(config tidemill.Config, plan *tidemill.FilterPlan) (tidemill.Filter, error) {
//		var settings struct{ Below int64 }
//		if err := config.Into(&settings); err != nil {
//			return nil, err
//		}
//		price, err := plan.Int64("price")
//		return &cheap{price, settings.Below}, err
//	}
//
//	func (c *cheap) Process(batch *tidemill.Batch) (tidemill.Verdict, error) {
//		price := c.price.In(batch)
//		return tidemill.KeepRows(batch, func(row int) (bool, error) {
//			p, ok := price.Get(row)
//			return ok && p < c.below, nil
//		})
//	}
//
// The same rows must give the same answer however they are cut into batches; an instance may be dropped between any two calls.
package tidemill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
	wit "github.com/tidemill/tidemill/sdk/go/internal/wit/types"
)

// Config is the stage's configuration: a JSON object.
type Config string

// Into fills a struct, as encoding/json does, and refuses what it has no field for.
func (c Config) Into(settings any) error {
	decoder := json.NewDecoder(bytes.NewReader([]byte(c)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(settings); err != nil {
		return fmt.Errorf("the plugin's config: %w", err)
	}
	return nil
}

// DataType says how a column's values are laid out.
type DataType uint8

const (
	Boolean DataType = iota
	Int16
	Int32
	Int64
	Uint32
	Float32
	Float64
	Utf8
	Binary
	// Date32 is read as int32: days since 1970-01-01.
	Date32
	// Timestamp is read as int64: microseconds since 1970-01-01 00:00 of no time zone.
	Timestamp
	// TimestampUTC is read as int64: microseconds since 1970-01-01 00:00 UTC.
	TimestampUTC
	// Time64 is read as int64: microseconds since midnight.
	Time64
	List
)

var dataTypes = [...]string{"boolean", "int16", "int32", "int64", "uint32", "float32", "float64", "utf8", "binary",
	"date32", "timestamp", "timestamp-utc", "time64", "list"}

func (t DataType) String() string {
	if int(t) < len(dataTypes) {
		return dataTypes[t]
	}
	return fmt.Sprintf("data type %d", uint8(t))
}

// What extends utf8: see docs/types.md for which Postgres types cross as which.
const (
	JSON    = "arrow.json"
	Numeric = "tidemill.numeric"
)

// Field is one column. The field after a list is that of its elements.
type Field struct {
	Name     string
	DataType DataType
	// JSON, Numeric or empty.
	Extension string
	// As the catalog calls it (int8, timestamptz), or empty.
	PostgresType string
}

// Schema says what the rows look like when they reach this stage.
type Schema struct {
	Namespace, Table string
	// The columns of the table's key.
	Key    []string
	Fields []Field
	// What may be known of a row as it was before its change.
	Old []Field
}

// Fact is what is known of the change that brought a row.
type Fact uint8

const (
	Op Fact = iota
	LSN
	Time
	Namespace
	Table
)

// Reject makes an error that refuses one row: it becomes a dead letter with this code (short, the same for the same kind of
// fault) and message (name the column; leave out what must not be read by everybody). The batch goes on.
func Reject(code, format string, arguments ...any) error {
	return &rejected{code, fmt.Sprintf(format, arguments...)}
}

// Retry makes an error that gives the whole batch back: it comes again, later.
func Retry(format string, arguments ...any) error {
	return &failed{fmt.Sprintf(format, arguments...), true}
}

// Fatal makes an error that pauses the stream and tells the operator.
func Fatal(format string, arguments ...any) error {
	return &failed{fmt.Sprintf(format, arguments...), false}
}

// failedCode is of a row's error that has no code of its own.
const failedCode = "failed"

type rejected struct{ code, message string }

func (r *rejected) Error() string { return r.message }

type failed struct {
	message string
	retry   bool
}

func (f *failed) Error() string { return f.message }

// RowReject is a row that cannot become a document.
type RowReject struct {
	Row           int
	Code, Message string
}

// Rejects collects a batch's rows that cannot become documents.
type Rejects []RowReject

// Take makes a reject of a row's error, and gives back an error that is of the whole batch. Any error that is neither is a
// reject with the code `failed`, as in the other languages' SDKs.
func (r *Rejects) Take(row int, err error) error {
	var whole *failed
	if errors.As(err, &whole) {
		return err
	}
	reject := RowReject{row, failedCode, err.Error()}
	var own *rejected
	if errors.As(err, &own) {
		reject.Code = own.code
	}
	*r = append(*r, reject)
	return nil
}

func (r Rejects) lower() []tidemill_plugin_types.Reject {
	out := make([]tidemill_plugin_types.Reject, len(r))
	for i, reject := range r {
		out[i] = tidemill_plugin_types.Reject{Row: uint32(reject.Row), Code: reject.Code, Message: reject.Message}
	}
	return out
}

// lowerFailure is the contract's word for an error of a whole batch: fatal unless it says otherwise.
func lowerFailure(err error) tidemill_plugin_types.Failure {
	var whole *failed
	if errors.As(err, &whole) && whole.retry {
		return tidemill_plugin_types.MakeFailureRetry(err.Error())
	}
	return tidemill_plugin_types.MakeFailureFatal(err.Error())
}

func liftSchema(schema tidemill_plugin_types.Schema) Schema {
	lift := func(fields []tidemill_plugin_types.Field) []Field {
		out := make([]Field, len(fields))
		for i, f := range fields {
			out[i] = Field{f.Name, DataType(f.DataType), f.Extension.SomeOr(""), f.PostgresType.SomeOr("")}
		}
		return out
	}
	return Schema{schema.Namespace, schema.Table, schema.Key, lift(schema.Fields), lift(schema.Old)}
}

func lowerField(f Field) tidemill_plugin_types.Field {
	extension := wit.None[string]()
	if f.Extension != "" {
		extension = wit.Some(f.Extension)
	}
	return tidemill_plugin_types.Field{Name: f.Name, DataType: uint8(f.DataType), Extension: extension, PostgresType: wit.None[string]()}
}
